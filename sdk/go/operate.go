package cpihub

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// User is somebody who is in a space.
type User struct {
	UserID      int    `json:"user_id"`
	Username    string `json:"username"`
	Connections int    `json:"connections"`
}

// Presence is who is in a space.
type Presence struct {
	SpaceID int `json:"space_id"`
	// Members counts connections.
	Members int    `json:"members"`
	Users   []User `json:"users"`
	// Truncated: there are more users than are listed (500).
	Truncated bool `json:"truncated"`
}

// Presence asks who is in a space.
func (c *Client) Presence(ctx context.Context, spaceID int) (Presence, error) {
	var presence Presence
	_, err := c.do(ctx, call{
		method: http.MethodGet, path: fmt.Sprintf("/v1/spaces/%d/presence", spaceID), isSafe: true,
	}, &presence)
	return presence, err
}

// Space is one with members.
type Space struct {
	SpaceID int `json:"space_id"`
	Members int `json:"members"`
}

// Spaces lists spaces that have members, the largest first, and says how many there are in all. A
// limit of 0 is the hub's, 100; 1000 is the most. The key's scope is `operate`.
func (c *Client) Spaces(ctx context.Context, limit int) (spaces []Space, total int, err error) {
	query := url.Values{}
	if limit != 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	var out struct {
		Data  []Space `json:"data"`
		Total int     `json:"total"`
	}
	_, err = c.do(ctx, call{
		method: http.MethodGet, path: "/v1/spaces", query: query, isSafe: true,
	}, &out)
	return out.Data, out.Total, err
}

// Kick closes all sockets of a user in a space, for good: clients do not come back from it. It
// returns how many were closed by the request that the hub answered. The key's scope is `kick`.
func (c *Client) Kick(ctx context.Context, spaceID, userID int) (closed int, err error) {
	var out struct {
		Closed int `json:"closed"`
	}
	_, err = c.do(ctx, call{
		method: http.MethodDelete, path: fmt.Sprintf("/v1/spaces/%d/members/%d", spaceID, userID),
		isSafe: true,
	}, &out)
	return out.Closed, err
}

// Notification is pushed to a user's notification sockets. It is not stored.
type Notification struct {
	// Data becomes a JSON object.
	Data any
	// Type is "notification" if empty, or "event".
	Type string
	// At is when it happened; now if zero.
	At time.Time
}

// Notify pushes to each notification socket of a user, and returns to how many. As nobody can tell
// two pushes of the same apart, a request whose answer is lost is not made again: the error is
// UnknownOutcome then. The key's scope is `notify`.
func (c *Client) Notify(ctx context.Context, userID int, push Notification) (int, error) {
	body := struct {
		Data any    `json:"data"`
		Type string `json:"type,omitempty"`
		At   string `json:"timestamp,omitempty"`
	}{Data: push.Data, Type: push.Type}
	if !push.At.IsZero() {
		body.At = push.At.Format("2006-01-02T15:04:05.000000-07:00")
	}
	var out struct {
		Delivered int `json:"delivered"`
	}
	_, err := c.do(ctx, call{
		method: http.MethodPost, path: fmt.Sprintf("/v1/users/%d/notifications", userID), body: body,
	}, &out)
	return out.Delivered, err
}

// Revocation calls tokens back: all of a user that were made up to now, or one by its id (`jti`).
type Revocation struct {
	UserID  int
	TokenID string
	// Until is when they end by themselves, up to which the hub remembers it; 366 days if zero.
	Until time.Time
}

// Revoke calls tokens back, closes the sockets that came by them, and returns how many it closed.
// The key's scope is `operate`.
func (c *Client) Revoke(ctx context.Context, revocation Revocation) (closed int, err error) {
	body := struct {
		UserID  int    `json:"user_id,omitempty"`
		TokenID string `json:"token_id,omitempty"`
		Until   int64  `json:"until,omitempty"`
	}{UserID: revocation.UserID, TokenID: revocation.TokenID}
	if !revocation.Until.IsZero() {
		body.Until = revocation.Until.Unix()
	}
	var out struct {
		Closed int `json:"closed"`
	}
	_, err = c.do(ctx, call{
		method: http.MethodPost, path: "/v1/auth/revocations", body: body, isSafe: true,
	}, &out)
	return out.Closed, err
}
