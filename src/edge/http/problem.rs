//! Refusals over HTTP: the shape that the existing front end shows people, and RFC 9457 for those
//! who ask for it (WIRE D, E).
//!
//! A handler returns a [`Refusal`]; it travels as a response's extension to the door, the one
//! place that writes its body, since only the door knows the request's `Accept`. No text here
//! names anything inside the hub.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::json::line;
use super::media::Accepted;
use crate::wire::reject::Reject;

/// The media type of RFC 9457.
const PROBLEM_JSON: &str = "application/problem+json";

/// A request that is not done, and what its sender is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The stable slug.
    pub code: &'static str,
    /// What people read.
    pub message: &'static str,
    /// The path, query or body field that is wrong.
    pub field: Option<&'static str>,
    /// Milliseconds after which a try makes sense.
    pub retry_after_ms: Option<u32>,
    /// What the edge counts it as; shards count their own.
    pub counts: Option<Reject>,
    /// The request's body is not read to its end, so that the connection can't go on.
    pub closes: bool,
}

impl Refusal {
    /// A refusal of a shard's or the store's, who have counted it already.
    pub(crate) fn passed_on(reject: Reject) -> Refusal {
        Refusal { counts: None, ..Refusal::from(reject) }
    }

    /// A path, query or body field that can't be used.
    pub(crate) fn field(field: &'static str, message: &'static str) -> Refusal {
        Refusal::from(Reject::InvalidParameter { field, message })
    }

    /// A body that is no JSON object (WIRE A3 has a text of its own for it).
    pub(crate) fn bad_json() -> Refusal {
        Refusal { message: "Invalid request data", ..Refusal::from(Reject::InvalidMessageFormat) }
    }

    /// A body that took longer than `handshake_wait` to arrive.
    pub(crate) fn slow_body() -> Refusal {
        Refusal {
            status: StatusCode::REQUEST_TIMEOUT,
            code: "request_timeout",
            message: "la solicitud tardó demasiado",
            field: None,
            retry_after_ms: None,
            counts: None,
            closes: true,
        }
    }

    /// A message that the store has not taken in time, where messages are accepted once they are
    /// stored: whether it will, nobody knows yet.
    pub(crate) fn not_yet_stored() -> Refusal {
        Refusal {
            status: StatusCode::GATEWAY_TIMEOUT,
            code: "not_yet_stored",
            message: "el mensaje aún no se pudo guardar; puede que se guarde más tarde",
            field: None,
            retry_after_ms: Some(1_000),
            counts: None,
            closes: false,
        }
    }

    /// This refusal, after which the connection is closed: the rest of the body stays unread.
    pub(crate) fn closing(self) -> Refusal {
        Refusal { closes: true, ..self }
    }

    /// Writes status, body and headers into the response that carried this refusal here.
    pub(crate) fn render(&self, response: &mut Response, problem: bool) {
        let (body, kind) = if problem {
            (self.problem_json(), PROBLEM_JSON)
        } else {
            (self.plain_json(), "application/json")
        };
        *response.status_mut() = self.status;
        *response.body_mut() = Body::from(body);
        let headers = response.headers_mut();
        // This length is that of the empty body that carried the refusal.
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(wait) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.div_ceil(1000).max(1)));
        }
    }

    fn plain_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Plain<'a> {
            status_code: u16,
            message: &'a str,
            code: &'a str,
        }
        let (status_code, message, code) = (self.status.as_u16(), self.message, self.code);
        line(&Plain { status_code, message, code })
    }

    fn problem_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Problem<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            code: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            field: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            retry_after_ms: Option<u32>,
        }
        line(&Problem {
            r#type: format!("/problems/{}", self.code),
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: self.message,
            code: self.code,
            field: self.field,
            retry_after_ms: self.retry_after_ms,
        })
    }
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Refusal {
        Refusal {
            status: StatusCode::from_u16(reject.status()).expect("WIRE D has valid statuses"),
            code: reject.code(),
            message: reject.message(),
            field: reject.field(),
            retry_after_ms: reject.retry_after_ms(),
            counts: Some(reject),
            closes: false,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

/// Whether `Accept` names the media type of RFC 9457, and not plain JSON before it.
pub(crate) fn wants_problem(headers: &HeaderMap) -> bool {
    let accepted = Accepted::of(headers);
    let problem = accepted.by_name(PROBLEM_JSON);
    problem > 0 && problem >= accepted.by_name("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rendered(refusal: Refusal, problem: bool) -> (Response<()>, String) {
        let mut response = refusal.into_response();
        refusal.render(&mut response, problem);
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 4096).await.expect("a whole body");
        let text = String::from_utf8(bytes.to_vec()).expect("JSON is UTF-8");
        (Response::from_parts(parts, ()), text)
    }

    #[tokio::test]
    async fn an_error_has_the_shape_that_the_front_end_knows() {
        let (response, body) = rendered(Reject::Draining.into(), false).await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["retry-after"], "3");
        assert_eq!(
            body,
            "{\"status_code\":503,\"message\":\"el servidor se está reiniciando, inténtalo de \
             nuevo\",\"code\":\"draining\"}\n"
        );
    }

    #[tokio::test]
    async fn an_error_is_a_problem_for_those_who_accept_problems() {
        let reject = Reject::RateLimited { retry_after_ms: 1_001 };
        let (response, body) = rendered(reject.into(), true).await;
        assert_eq!(response.headers()["content-type"], PROBLEM_JSON);
        assert_eq!(response.headers()["retry-after"], "2", "seconds are rounded up");
        assert_eq!(
            body,
            "{\"type\":\"/problems/rate_limited\",\"title\":\"Too Many Requests\",\"status\":429,\
             \"detail\":\"demasiados mensajes, espera un momento\",\"code\":\"rate_limited\",\
             \"retry_after_ms\":1001}\n"
        );
        let (_, body) = rendered(Refusal::field("page", "no"), true).await;
        assert!(body.contains("\"code\":\"invalid_parameter\",\"field\":\"page\"}"), "{body}");
    }

    #[test]
    fn problems_are_asked_for_by_name_only() {
        let asks = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, value.parse().expect("a header value"));
            wants_problem(&headers)
        };
        assert!(asks("text/html, Application/Problem+JSON;q=0.9"));
        assert!(asks("application/json, application/problem+json"));
        assert!(!asks("application/json, */*"));
        assert!(!asks("application/problem+json;q=0"));
        assert!(!asks("application/json, application/problem+json;q=0.5"));
        assert!(!wants_problem(&HeaderMap::new()));
    }
}
