// Package cpihub speaks to a cpi-hub over HTTP, for programs: it says something in a space, pushes
// notifications, reads history and who is here, and closes somebody's sockets.
//
// A call asks again by itself where the hub is away, restarts or is busy: not before the hub says
// (Retry-After), with jitter, and no longer than its context and Options.RetryFor allow. What is
// said carries an Idempotency-Key, so that it is there once however often it was sent.
//
// An error of the hub's is an *Error; errors.Is(err, cpihub.RateLimited) asks for its code.
package cpihub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	attemptTimeout = 15 * time.Second
	retryFor       = time.Minute
	// The hub knows a key for two minutes (`nonce_window`); the rest is for the way there.
	resendWindow = 110 * time.Second
)

// Options say where a hub is, and what it is shown.
type Options struct {
	// URL of the hub, as in "http://127.0.0.1:8080". A path in front of /v1 is kept.
	URL string
	// Key that the program shows, made by `cpi-hub key new`, or a user's token. Empty where the hub
	// asks for none.
	Key string
	// Credentials is asked for the key or token of each request instead, where these change; and
	// once more where the hub does not take what it gave.
	Credentials func(context.Context) (string, error)
	// HTTP sends the requests; a client of its own if nil.
	HTTP *http.Client
	// AttemptTimeout bounds one request, 15 s if 0. The hub answers what is said within 5 s.
	AttemptTimeout time.Duration
	// RetryFor bounds all requests of one call together, a minute if 0. If negative, none is made a
	// second time.
	RetryFor time.Duration
}

// Client speaks to one hub. It may be used by many goroutines at once.
type Client struct {
	base        string
	credentials func(context.Context) (string, error)
	isRenewable bool
	http        *http.Client
	attempt     time.Duration
	retryFor    time.Duration
	around      surroundings
}

// surroundings are the clock and the chance that a client goes by; tests have their own.
type surroundings struct {
	now    func() time.Time
	sleep  func(context.Context, time.Duration) error
	random func() float64
}

// New makes a client; it connects when it is used. The error is about Options.URL.
func New(options Options) (*Client, error) {
	base, err := url.Parse(options.URL)
	if err != nil {
		return nil, fmt.Errorf("cpihub: the hub's address: %w", err)
	}
	if (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, fmt.Errorf("cpihub: say where the hub is, as in http://127.0.0.1:8080, not %q",
			options.URL)
	}
	if base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, errors.New("cpihub: the hub's address has a query, a fragment or a user")
	}
	client := &Client{
		base:        strings.TrimRight(base.String(), "/"),
		credentials: options.Credentials,
		isRenewable: options.Credentials != nil,
		http:        options.HTTP,
		attempt:     options.AttemptTimeout,
		retryFor:    options.RetryFor,
		around:      surroundings{now: time.Now, sleep: sleep, random: random},
	}
	if client.credentials == nil && options.Key != "" {
		client.credentials = func(context.Context) (string, error) { return options.Key, nil }
	}
	if client.http == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		// All connections go to one host; the default of two would make new ones all the time.
		transport.MaxIdleConnsPerHost = 32
		client.http = &http.Client{Transport: transport, CheckRedirect: stay}
	}
	if client.attempt <= 0 {
		client.attempt = attemptTimeout
	}
	if client.retryFor == 0 {
		client.retryFor = retryFor
	}
	return client, nil
}

// stay follows no redirect: a hub sends none, and another host must not be shown a key.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
