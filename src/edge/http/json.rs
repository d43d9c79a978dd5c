//! JSON as answers have it: compact, in one line. Pure.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;

/// A value as compact JSON with one newline behind it (WIRE, common forms).
pub(crate) fn line(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(value).expect("plain structs with string keys serialise");
    text.push(b'\n');
    text
}

/// An answer whose body is a value.
pub(crate) fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    response(status, Body::from(line(value)))
}

/// An answer whose body is JSON that is written elsewhere.
pub(super) fn response(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
