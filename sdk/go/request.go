package cpihub

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// A page of history holds up to 8 MiB of pictures as a hub is shipped.
	answerBytesMax = 64 << 20
	waitMin        = 200 * time.Millisecond
	waitMax        = 10 * time.Second
	keyBytes       = 16
)

// call is one thing that is asked of the hub, in as many requests as it takes.
type call struct {
	method string
	path   string
	query  url.Values
	header http.Header
	body   any
	// isSafe: asked twice it is as good as once, so that a lost answer is no end.
	isSafe bool
	// key of what is said, and until when the hub knows it.
	key string
}

// answer is the last response to a call.
type answer struct {
	status int
	header http.Header
}

// do asks until there is an answer, or no sense in asking; out takes the answer's body.
func (c *Client) do(ctx context.Context, call call, out any) (answer, error) {
	var body []byte
	if call.body != nil {
		var err error
		if body, err = json.Marshal(call.body); err != nil {
			return answer{}, fmt.Errorf("cpihub: %w", err)
		}
	}
	began := c.around.now()
	mayHaveArrived, isRenewed := false, false
	for tries := 1; ; tries++ {
		got, sent, failed := c.ask(ctx, call, body, out)
		if failed == nil {
			return got, nil
		}
		failed.Key = call.key
		verdict := judge(failed, call.isSafe, sent)
		mayHaveArrived = mayHaveArrived || (sent && verdict.isOpen)
		if failed.Status == http.StatusUnauthorized && c.isRenewable && !isRenewed {
			isRenewed = true
			continue
		}
		wait := failed.RetryAfter + c.jitter(tries)
		if !verdict.retry || !c.hasTime(ctx, call, began, wait) {
			return got, settled(failed, mayHaveArrived && call.method != http.MethodGet)
		}
		if err := c.around.sleep(ctx, wait); err != nil {
			failed.cause = err
			return got, settled(failed, mayHaveArrived && call.method != http.MethodGet)
		}
	}
}

// verdict is what a failure means: whether to ask again, and whether it left open what happened.
type verdict struct{ retry, isOpen bool }

func judge(failed *Error, isSafe, sent bool) verdict {
	var ends *credentialsError
	switch {
	case errors.As(failed, &ends), errors.Is(failed, context.Canceled):
		return verdict{isOpen: true}
	case failed.Status == http.StatusTooManyRequests, failed.Status == http.StatusRequestTimeout:
		return verdict{retry: true}
	case failed.Status == http.StatusServiceUnavailable && failed.Code != Unexpected:
		return verdict{retry: true}
	case failed.Status >= http.StatusInternalServerError:
		return verdict{retry: isSafe, isOpen: true}
	case failed.Status != 0:
		return verdict{}
	}
	return verdict{retry: isSafe || !sent, isOpen: true}
}

// settled says of a failure what the caller has to know: whether what was asked may have happened.
func settled(failed *Error, mayHaveHappened bool) *Error {
	if mayHaveHappened && (failed.Status == 0 || failed.Status >= http.StatusTooManyRequests) {
		failed.Code = UnknownOutcome
	}
	return failed
}

// hasTime tells whether a wait would end while the call may still go on.
func (c *Client) hasTime(ctx context.Context, call call, began time.Time, wait time.Duration) bool {
	then := c.around.now().Add(wait)
	if deadline, has := ctx.Deadline(); has && then.After(deadline) {
		return false
	}
	limit := c.retryFor
	if call.key != "" && limit > resendWindow {
		limit = resendWindow
	}
	return ctx.Err() == nil && then.Sub(began) <= limit
}

// jitter spreads those who come back: up to a ceiling that doubles with each try.
func (c *Client) jitter(tries int) time.Duration {
	ceiling := waitMax
	if tries < 6 {
		ceiling = waitMin << tries
	}
	return waitMin + time.Duration(c.around.random()*float64(ceiling-waitMin))
}

// ask makes one request. sent tells whether the hub may have got it.
func (c *Client) ask(ctx context.Context, call call, body []byte, out any) (answer, bool, *Error) {
	attempt, cancel := context.WithTimeout(ctx, c.attempt)
	defer cancel()
	var sent atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }}
	request, failed := c.request(httptrace.WithClientTrace(attempt, trace), call, body)
	if failed != nil {
		return answer{}, false, failed
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, sent.Load(), &Error{Code: Unreachable, cause: cause(ctx, err)}
	}
	defer response.Body.Close()
	got := answer{response.StatusCode, response.Header}
	text, err := io.ReadAll(io.LimitReader(response.Body, answerBytesMax))
	if err != nil {
		return got, true, &Error{Code: Unreachable, cause: cause(ctx, err)}
	}
	if response.StatusCode/100 != 2 {
		return got, true, refusal(response, text)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return got, true, &Error{Code: Unexpected, Status: response.StatusCode, cause: err}
	}
	return got, true, nil
}

// cause is the caller's own end of a request, rather than what the network made of it.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (c *Client) request(ctx context.Context, call call, body []byte) (*http.Request, *Error) {
	address := c.base + call.path
	if len(call.query) > 0 {
		address += "?" + call.query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, call.method, address, bytes.NewReader(body))
	if err != nil {
		return nil, &Error{Code: Unreachable, cause: err}
	}
	for name, values := range call.header {
		request.Header[name] = values
	}
	request.Header.Set("Accept", "application/problem+json, application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.credentials == nil {
		return request, nil
	}
	shown, err := c.credentials(ctx)
	if err != nil {
		return nil, &Error{Code: Unauthorized, cause: &credentialsError{err}}
	}
	request.Header.Set("Authorization", "Bearer "+shown)
	return request, nil
}

// credentialsError is what Options.Credentials said.
type credentialsError struct{ error }

func (e *credentialsError) Unwrap() error { return e.error }

// refusal reads what a hub says of an error; what is none of its is Unexpected.
func refusal(response *http.Response, text []byte) *Error {
	var problem struct {
		Code         Code   `json:"code"`
		Detail       string `json:"detail"`
		Message      string `json:"message"`
		Field        string `json:"field"`
		RetryAfterMs int64  `json:"retry_after_ms"`
	}
	failed := &Error{Code: Unexpected, Status: response.StatusCode}
	if json.Unmarshal(text, &problem) == nil && problem.Code != "" {
		failed.Code, failed.Message, failed.Field = problem.Code, problem.Detail, problem.Field
		if failed.Message == "" {
			failed.Message = problem.Message
		}
	}
	failed.RetryAfter = time.Duration(problem.RetryAfterMs) * time.Millisecond
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if failed.RetryAfter == 0 && err == nil && seconds > 0 {
		failed.RetryAfter = time.Duration(seconds) * time.Second
	}
	return failed
}

func sleep(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// random is a number below 1. The system's chance differs between programs that start alike.
func random() float64 {
	var bits [8]byte
	if _, err := rand.Read(bits[:]); err != nil {
		return 0.5
	}
	return float64(binary.LittleEndian.Uint64(bits[:])>>11) / (1 << 53)
}

func newKey() (string, error) {
	var bits [keyBytes]byte
	if _, err := rand.Read(bits[:]); err != nil {
		return "", fmt.Errorf("cpihub: no chance for a key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(bits[:]), nil
}
