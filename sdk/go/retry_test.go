package cpihub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// script is a server that answers each request by its turn, and a client whose waits take no time.
type script struct {
	*httptest.Server
	client *Client
	steps  []http.HandlerFunc
	asked  []*http.Request
	bodies []string
	waits  []time.Duration
	now    time.Time
	lock   sync.Mutex
}

func scripted(t *testing.T, options Options, steps ...http.HandlerFunc) *script {
	s := &script{steps: steps, now: time.Unix(1_800_000_000, 0)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.lock.Lock()
		s.asked, s.bodies = append(s.asked, r), append(s.bodies, string(body))
		step := s.steps[0]
		if len(s.steps) > 1 {
			s.steps = s.steps[1:]
		}
		s.lock.Unlock()
		step(w, r)
	}))
	t.Cleanup(s.Server.Close)
	if options.URL == "" {
		options.URL = s.URL
	}
	client, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	s.client = client
	client.around = surroundings{
		now: func() time.Time { return s.now },
		sleep: func(ctx context.Context, wait time.Duration) error {
			s.waits = append(s.waits, wait)
			s.now = s.now.Add(wait)
			return ctx.Err()
		},
		random: func() float64 { return 0.5 },
	}
	return s
}

// requests are those that have come by now.
func (s *script) requests() []*http.Request {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.asked
}

func (s *script) say() (Said, error) {
	return s.client.Say(context.Background(), 1, Post{UserID: 7, Username: "Ana", Content: "hola"})
}

func status(code int, slug Code, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"status":%d,"code":%q,"detail":"texto"}`, code, slug)
	}
}

func stored(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, `{"chat_message":{"id":"01KB","content":"hola","user_id":7,"username":"Ana",`+
		`"space_id":1,"timestamp":"2026-01-02T03:04:05.678901-03:00","image":""},"message":"x"}`)
}

// torn ends a request with its connection.
func torn(w http.ResponseWriter, _ *http.Request) {
	connection, _, _ := w.(http.Hijacker).Hijack()
	connection.Close()
}

func isCode(t *testing.T, err error, code Code) *Error {
	t.Helper()
	var failed *Error
	if !errors.Is(err, code) || !errors.As(err, &failed) {
		t.Fatalf("%v, expected %v", err, code)
	}
	return failed
}

func TestWhatIsSaidIsSentAgainWithItsKeyUntilTheHubHasIt(t *testing.T) {
	s := scripted(t, Options{}, torn, status(503, Draining, "Retry-After", "3"),
		status(429, RateLimited, "Retry-After", "2"), status(502, ""), stored)
	said, err := s.say()
	if err != nil || said.ID != "01KB" || !said.Stored || said.Replayed {
		t.Fatal(said, err)
	}
	if said.Timestamp.UTC().Format(time.RFC3339Nano) != "2026-01-02T06:04:05.678901Z" {
		t.Error(said.Timestamp)
	}
	key := s.requests()[0].Header.Get("Idempotency-Key")
	for i, request := range s.requests() {
		if request.Header.Get("Idempotency-Key") != key || s.bodies[i] != s.bodies[0] {
			t.Errorf("request %d differs", i)
		}
	}
	if len(key) != 22 || len(s.requests()) != 5 {
		t.Error(key, len(s.requests()))
	}
	// The hub's hint is the least of a wait, and jitter comes on top.
	if len(s.waits) != 4 || s.waits[1] <= 3*time.Second || s.waits[2] <= 2*time.Second {
		t.Error(s.waits)
	}
	if s.waits[0] < waitMin || s.waits[0] > time.Second {
		t.Error(s.waits)
	}
}

func TestARefusalIsToldAtOnceWithItsCode(t *testing.T) {
	s := scripted(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		io.WriteString(w, `{"status":400,"code":"invalid_parameter","detail":"no","field":"user_id"}`)
	})
	_, err := s.say()
	failed := isCode(t, err, InvalidParameter)
	if failed.Field != "user_id" || failed.Status != 400 || len(s.requests()) != 1 {
		t.Error(failed, len(s.requests()))
	}
	if errors.Is(err, Forbidden) || !strings.Contains(err.Error(), "user_id") {
		t.Error(err)
	}
}

func TestAnAnswerOfAProxyIsNoneOfAHub(t *testing.T) {
	s := scripted(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(403)
		io.WriteString(w, "<html>")
	})
	_, err := s.say()
	if failed := isCode(t, err, Unexpected); failed.Status != 403 {
		t.Error(failed)
	}
	s = scripted(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusMovedPermanently)
	})
	_, err = s.say()
	if failed := isCode(t, err, Unexpected); failed.Status != 301 || len(s.requests()) != 1 {
		t.Error(failed, len(s.requests()))
	}
	s = scripted(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"welcome":"to the hotel"}`)
	})
	_, err = s.say()
	if failed := isCode(t, err, Unexpected); failed.Status != 200 {
		t.Error(failed)
	}
}

func TestALostAnswerLeavesTheOutcomeOpenAndNamesTheKey(t *testing.T) {
	s := scripted(t, Options{RetryFor: 5 * time.Second}, torn, status(503, Draining))
	_, err := s.say()
	failed := isCode(t, err, UnknownOutcome)
	if failed.Key == "" || failed.Key != s.requests()[0].Header.Get("Idempotency-Key") {
		t.Error(failed.Key)
	}
	// What was refused each time has not happened, and is no open question.
	s = scripted(t, Options{RetryFor: 5 * time.Second}, status(503, Draining))
	_, err = s.say()
	isCode(t, err, Draining)
	// Nothing is done by reading.
	s = scripted(t, Options{RetryFor: 5 * time.Second}, torn)
	_, err = s.client.History(context.Background(), 1, Range{})
	isCode(t, err, Unreachable)
}

func TestNobodySendsAgainWhatTheHubHasForgotten(t *testing.T) {
	s := scripted(t, Options{RetryFor: time.Hour}, torn)
	_, err := s.say()
	isCode(t, err, UnknownOutcome)
	total := time.Duration(0)
	for _, wait := range s.waits {
		total += wait
	}
	if total < time.Minute || total > resendWindow {
		t.Error(total)
	}
}

func TestANotificationIsNotPushedTwice(t *testing.T) {
	push := func(s *script) error {
		_, err := s.client.Notify(context.Background(), 7, Notification{Data: struct{}{}})
		return err
	}
	s := scripted(t, Options{}, torn)
	isCode(t, push(s), UnknownOutcome)
	if len(s.requests()) != 1 {
		t.Error(len(s.requests()))
	}
	delivered := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"delivered":2}`) }
	s = scripted(t, Options{}, status(503, Overloaded), delivered)
	if err := push(s); err != nil || len(s.requests()) != 2 {
		t.Error("what was refused is pushed again:", err, len(s.requests()))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	s = scripted(t, Options{URL: "http://" + listener.Addr().String()}, delivered)
	isCode(t, push(s), Unreachable)
	if len(s.waits) < 3 {
		t.Error("where nobody listens nothing was pushed, and it is tried again:", s.waits)
	}
}

func TestAContextEndsACall(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := scripted(t, Options{}, status(503, Draining))
	s.client.around.sleep = func(ctx context.Context, wait time.Duration) error {
		cancel()
		return sleep(ctx, wait)
	}
	_, err := s.client.Presence(ctx, 1)
	if !errors.Is(err, context.Canceled) || len(s.requests()) != 1 {
		t.Error(err, len(s.requests()))
	}
	s = scripted(t, Options{}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel = context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err = s.client.Presence(ctx, 1)
	if !errors.Is(err, context.DeadlineExceeded) || len(s.waits) != 0 {
		t.Error(err, s.waits)
	}
}

func TestAHintBeyondTheDeadlineIsNotWaitedFor(t *testing.T) {
	s := scripted(t, Options{}, status(503, Draining, "Retry-After", "30"))
	ctx, cancel := context.WithDeadline(context.Background(), s.now.Add(20*time.Second))
	defer cancel()
	_, err := s.client.Presence(ctx, 1)
	if failed := isCode(t, err, Draining); failed.RetryAfter != 30*time.Second || len(s.waits) != 0 {
		t.Error(failed, s.waits)
	}
	s = scripted(t, Options{RetryFor: -1}, status(503, Draining))
	_, err = s.client.Presence(context.Background(), 1)
	isCode(t, err, Draining)
	if len(s.requests()) != 1 {
		t.Error(len(s.requests()))
	}
}

func TestASlowAnswerIsGivenUpAndAskedForAgain(t *testing.T) {
	slow := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	s := scripted(t, Options{AttemptTimeout: 20 * time.Millisecond}, slow, stored)
	if _, err := s.say(); err != nil || len(s.requests()) != 2 {
		t.Error(err, len(s.requests()))
	}
}

func TestCredentialsThatAreRefusedAreAskedForOnceMore(t *testing.T) {
	given := 0
	credentials := func(context.Context) (string, error) {
		given++
		return fmt.Sprint("key", given), nil
	}
	s := scripted(t, Options{Credentials: credentials}, status(401, Unauthorized), stored)
	if _, err := s.say(); err != nil || s.requests()[1].Header.Get("Authorization") != "Bearer key2" {
		t.Error(err)
	}
	s = scripted(t, Options{Credentials: credentials}, status(401, Unauthorized))
	_, err := s.say()
	isCode(t, err, Unauthorized)
	if len(s.requests()) != 2 {
		t.Error(len(s.requests()))
	}
	// A key that does not change is as wrong the second time.
	s = scripted(t, Options{Key: "k"}, status(401, Unauthorized))
	_, err = s.say()
	isCode(t, err, Unauthorized)
	if len(s.requests()) != 1 {
		t.Error(len(s.requests()))
	}
	sad := errors.New("the vault is shut")
	failing := func(context.Context) (string, error) { return "", sad }
	s = scripted(t, Options{Credentials: failing}, stored)
	if _, err = s.say(); !errors.Is(err, sad) || len(s.requests()) != 0 {
		t.Error(err, len(s.requests()))
	}
}

func TestHistoryIsReadPageByPageFromEitherEnd(t *testing.T) {
	all := []Message{{ID: "1"}, {ID: "2"}, {ID: "3"}, {ID: "4"}, {ID: "5"}}
	s := scripted(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		query, found := r.URL.Query(), []Message{}
		for _, message := range all {
			before := query.Get("before")
			if message.ID > query.Get("after") && (before == "" || message.ID < before) {
				found = append(found, message)
			}
		}
		more := len(found) > 2
		switch {
		case more && query.Has("after"):
			found = found[:2]
		case more:
			found = found[len(found)-2:]
		}
		json.NewEncoder(w).Encode(Page{found, more})
	})
	for _, row := range []struct {
		within Range
		ids    string
	}{
		{Range{}, "12345"},
		{Range{After: "2"}, "345"},
		{Range{After: "1", Before: "5"}, "234"},
		{Range{NewestFirst: true}, "54321"},
		{Range{NewestFirst: true, Before: "4"}, "321"},
		{Range{NewestFirst: true, After: "2"}, "543"},
		{Range{After: "5"}, ""},
	} {
		ids := ""
		messages := s.client.Messages(1, row.within)
		for messages.Next(context.Background()) {
			ids += messages.Message().ID
		}
		if messages.Err() != nil || ids != row.ids || messages.Next(context.Background()) {
			t.Error(row.within, ids, messages.Err())
		}
	}
	s = scripted(t, Options{}, status(403, Forbidden))
	messages := s.client.Messages(1, Range{})
	if messages.Next(context.Background()) || messages.Next(context.Background()) {
		t.Error("there is nothing")
	}
	isCode(t, messages.Err(), Forbidden)
	if len(s.requests()) != 1 {
		t.Error(len(s.requests()))
	}
}

func TestAnAddressThatIsNoneIsRefused(t *testing.T) {
	for _, address := range []string{"", "localhost:8080", "ftp://x", "http://", "http://a:b@c",
		"http://x/?token=1", "http://[", "://"} {
		if _, err := New(Options{URL: address}); err == nil {
			t.Error(address)
		}
	}
	client, err := New(Options{URL: "https://hub.example/events/"})
	if err != nil || client.base != "https://hub.example/events" {
		t.Error(client, err)
	}
}

func TestJitterDoublesUpToItsCeiling(t *testing.T) {
	client, _ := New(Options{URL: "http://hub"})
	for tries := 1; tries < 100; tries++ {
		for _, chance := range []float64{0, 0.999} {
			client.around.random = func() float64 { return chance }
			if wait := client.jitter(tries); wait < waitMin || wait > waitMax {
				t.Fatal(tries, wait)
			}
		}
	}
	for i := 0; i < 1000; i++ {
		if chance := random(); chance < 0 || chance >= 1 {
			t.Fatal(chance)
		}
	}
}
