package cpihub

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Message is what somebody said in a space.
type Message struct {
	// ID ascends within the space: a position to read on from.
	ID        string    `json:"id"`
	Content   string    `json:"content"`
	UserID    int       `json:"user_id"`
	Username  string    `json:"username"`
	SpaceID   int       `json:"space_id"`
	Timestamp time.Time `json:"timestamp"`
	Image     string    `json:"image"`
}

// Post is something to be said.
type Post struct {
	// UserID and Username of who says it. A user's token speaks for that user only.
	UserID   int
	Username string
	// Content has 1 to 1000 characters.
	Content string
	// Image of who says it, an address.
	Image string
	// Key under which it is said once, however often it is sent within two minutes: 1 to 64
	// characters from ! to ~. Say makes one if it is empty; name one to say the same again after
	// an UnknownOutcome or a crash.
	Key string
	// NoWait has the hub answer when the message is in its journal, not when the store has it.
	NoWait bool
}

// Said is what has become of a Post.
type Said struct {
	Message
	// Stored: the store has it. Otherwise the journal does, from where the store gets it.
	Stored bool
	// Replayed: it was said before, under the same key.
	Replayed bool
}

// Say says something in a space, once, however often it has to be sent.
func (c *Client) Say(ctx context.Context, spaceID int, post Post) (Said, error) {
	key := post.Key
	if key == "" {
		var err error
		if key, err = newKey(); err != nil {
			return Said{}, err
		}
	}
	header := http.Header{"Idempotency-Key": {key}}
	if post.NoWait {
		header.Set("Prefer", "respond-async")
	}
	body := struct {
		SpaceID  int    `json:"space_id"`
		UserID   int    `json:"user_id"`
		Username string `json:"username"`
		Message  string `json:"message"`
		Image    string `json:"image,omitempty"`
	}{spaceID, post.UserID, post.Username, post.Content, post.Image}
	var out struct {
		Message Message `json:"chat_message"`
	}
	got, err := c.do(ctx, call{
		method: http.MethodPost, path: fmt.Sprintf("/v1/ws/spaces/%d/chat", spaceID),
		header: header, body: body, isSafe: true, key: key,
	}, &out)
	if err == nil && out.Message.ID == "" {
		// Somebody else's yes, as a captive portal's.
		err = &Error{Code: Unexpected, Status: got.status}
	}
	if err != nil {
		return Said{}, err
	}
	return Said{
		Message:  out.Message,
		Stored:   got.status == http.StatusOK,
		Replayed: got.header.Get("Idempotency-Replayed") == "true",
	}, nil
}

// Range is a part of a space's history.
type Range struct {
	// After and Before are ids, both left out of the range; empty: it has no such end.
	After, Before string
	// Limit of one page, 50 if 0, at most 100.
	Limit int
	// NewestFirst has Messages go backwards. A page is in ascending order always.
	NewestFirst bool
}

// Page is some stored messages, in the order of their ids.
type Page struct {
	Messages []Message `json:"data"`
	// HasMore: there are more in the range.
	HasMore bool `json:"has_more"`
}

// History reads one page: behind After, or else the last before Before, or the newest.
func (c *Client) History(ctx context.Context, spaceID int, within Range) (Page, error) {
	query := url.Values{}
	if within.After != "" {
		query.Set("after", within.After)
	}
	if within.Before != "" {
		query.Set("before", within.Before)
	}
	if within.Limit != 0 {
		query.Set("limit", strconv.Itoa(within.Limit))
	}
	var page Page
	_, err := c.do(ctx, call{
		method: http.MethodGet, path: fmt.Sprintf("/v1/spaces/%d/messages", spaceID),
		query: query, isSafe: true,
	}, &page)
	return page, err
}

// Query is what to look for in a space.
type Query struct {
	// Text has the words that each message is to have: `plain`, `"words in a row"`, `begin*`.
	Text string
	// Before is an id: the last one of the page before; empty: from the newest on.
	Before string
	// Limit of one page, 20 if 0, at most 100.
	Limit int
}

// Found is a page of what was found.
type Found struct {
	// Messages, the newest first.
	Messages []Message `json:"data"`
	// HasMore: there are older ones.
	HasMore bool `json:"has_more"`
	// Complete: the hub's index has all messages. Until it has, older ones may be missing.
	Complete bool `json:"complete"`
}

// Search finds messages of a space by their words. A hub that does not search refuses with
// SearchOff.
func (c *Client) Search(ctx context.Context, spaceID int, query Query) (Found, error) {
	values := url.Values{"q": {query.Text}}
	if query.Before != "" {
		values.Set("before", query.Before)
	}
	if query.Limit != 0 {
		values.Set("limit", strconv.Itoa(query.Limit))
	}
	var found Found
	_, err := c.do(ctx, call{
		method: http.MethodGet, path: fmt.Sprintf("/v1/spaces/%d/search", spaceID),
		query: values, isSafe: true,
	}, &found)
	return found, err
}

// begin is a position before all others.
const begin = "00000000000000000000000000"

// Messages are those of a range, one by one; a page is read when the one before it was taken.
//
//	messages := client.Messages(1, cpihub.Range{})
//	for messages.Next(ctx) {
//		fmt.Println(messages.Message().Content)
//	}
//	if err := messages.Err(); err != nil {
type Messages struct {
	client  *Client
	spaceID int
	within  Range
	// until is where an iteration backwards ends.
	until   string
	page    []Message
	current Message
	isLast  bool
	err     error
}

// Messages iterates over a range, from its begin or with NewestFirst from its end.
func (c *Client) Messages(spaceID int, within Range) *Messages {
	messages := &Messages{client: c, spaceID: spaceID, within: within}
	if within.NewestFirst {
		messages.until, messages.within.After = within.After, ""
	} else if within.After == "" {
		messages.within.After = begin
	}
	return messages
}

// Next goes to the next message. It returns false at the end of the range, and at an error.
func (m *Messages) Next(ctx context.Context) bool {
	if len(m.page) == 0 && !m.isLast && m.err == nil {
		m.read(ctx)
	}
	if len(m.page) == 0 || m.err != nil {
		return false
	}
	m.current, m.page = m.page[0], m.page[1:]
	if m.within.NewestFirst {
		m.within.Before = m.current.ID
	} else {
		m.within.After = m.current.ID
	}
	if m.current.ID <= m.until {
		m.page, m.isLast = nil, true
		return false
	}
	return true
}

func (m *Messages) read(ctx context.Context) {
	page, err := m.client.History(ctx, m.spaceID, m.within)
	if err != nil {
		m.err = err
		return
	}
	m.page, m.isLast = page.Messages, !page.HasMore
	if m.within.NewestFirst {
		for i, j := 0, len(m.page)-1; i < j; i, j = i+1, j-1 {
			m.page[i], m.page[j] = m.page[j], m.page[i]
		}
	}
}

// Message is the one that Next went to.
func (m *Messages) Message() Message { return m.current }

// Err says why Next returned false, nil at the end of the range.
func (m *Messages) Err() error { return m.err }
