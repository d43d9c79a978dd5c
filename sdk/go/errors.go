package cpihub

import (
	"fmt"
	"time"
)

// Code is the stable name of an error: what a program decides by. It is an error itself, to be
// asked for with errors.Is.
type Code string

func (c Code) Error() string { return string(c) }

// The codes with which a hub refuses; docs/CODES.md says more of each.
const (
	BodyTooLarge         Code = "body_too_large"
	ContentEmpty         Code = "content_empty"
	ContentInvalid       Code = "content_invalid"
	ContentTooLong       Code = "content_too_long"
	Draining             Code = "draining"
	Forbidden            Code = "forbidden"
	Internal             Code = "internal"
	InvalidChatMessage   Code = "invalid_chat_message"
	InvalidMessageFormat Code = "invalid_message_format"
	InvalidParameter     Code = "invalid_parameter"
	InvalidUpgrade       Code = "invalid_upgrade"
	NonceReused          Code = "nonce_reused"
	NotYetStored         Code = "not_yet_stored"
	Overloaded           Code = "overloaded"
	RateLimited          Code = "rate_limited"
	RequestTimeout       Code = "request_timeout"
	SearchOff            Code = "search_off"
	SpaceMismatch        Code = "space_mismatch"
	StoreRefused         Code = "store_refused"
	StoreUnavailable     Code = "store_unavailable"
	TooManyConnections   Code = "too_many_connections"
	Unauthorized         Code = "unauthorized"
	UnknownMessageType   Code = "unknown_message_type"
	UnknownSpace         Code = "unknown_space"
	UnknownUser          Code = "unknown_user"
	ValidationError      Code = "validation_error"
)

// The codes of this package's own.
const (
	// Unreachable: there was no answer, and nothing has happened.
	Unreachable Code = "unreachable"
	// UnknownOutcome: a request that does something may have arrived, and its answer has not. What
	// was said can be sent again with Error.Key within two minutes, and is there once.
	UnknownOutcome Code = "unknown_outcome"
	// Unexpected: an answer that is none of a hub's, as a proxy's. Error.Status is its status.
	Unexpected Code = "unexpected"
)

// Error is what a hub refused, or why there is no answer of its.
type Error struct {
	// Code is stable; programs go by it.
	Code Code
	// Status of HTTP, 0 where there was no answer.
	Status int
	// Message is for people, in Spanish.
	Message string
	// Field that can't be used, where Code is InvalidParameter.
	Field string
	// RetryAfter is how long the hub asked to stay away; a call has waited that long already if
	// its context and Options.RetryFor allowed it.
	RetryAfter time.Duration
	// Key of what was said: Say takes it in Post.Key.
	Key string

	cause error
}

func (e *Error) Error() string {
	text := "cpihub: " + string(e.Code)
	if e.Field != "" {
		text += " (" + e.Field + ")"
	}
	if e.Status != 0 {
		text += fmt.Sprintf(", status %d", e.Status)
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Is tells whether target is the error's code.
func (e *Error) Is(target error) bool {
	code, isCode := target.(Code)
	return isCode && code == e.Code
}

// Unwrap gives the error of the network or of the context, where there was one.
func (e *Error) Unwrap() error { return e.cause }
