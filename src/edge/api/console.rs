//! The console's pages, embedded in the binary: they work where the hub works.

use std::future::ready;
use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Scripts and styles of the hub only, pictures of people from anywhere, sockets to any hub; in
/// nobody's frame.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; \
    img-src 'self' data: https:; base-uri 'none'; frame-ancestors 'none'";

struct Page {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const PAGES: &[Page] = &[
    Page {
        path: "/",
        kind: "text/html; charset=utf-8",
        text: include_str!("../../console/index.html"),
    },
    Page {
        path: "/app.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("../../console/app.js"),
    },
    Page {
        path: "/timeline.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("../../console/timeline.js"),
    },
    Page {
        path: "/client.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("../../console/client.js"),
    },
    Page {
        path: "/style.css",
        kind: "text/css; charset=utf-8",
        text: include_str!("../../console/style.css"),
    },
];

/// The page, its scripts and its style.
pub(in crate::edge) fn routes() -> Router {
    PAGES.iter().fold(Router::new(), |router, page| {
        let tag = tag(page.text);
        router.route(page.path, get(move |headers: HeaderMap| ready(answer(page, &tag, &headers))))
    })
}

/// An `ETag`: pages change with the binary only.
fn tag(text: &str) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    HeaderValue::try_from(format!("\"{:016x}\"", hasher.finish())).expect("a tag is ASCII")
}

fn answer(page: &Page, tag: &HeaderValue, request: &HeaderMap) -> Response {
    let mut response = if has(request, tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, page.kind)], page.text).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag.clone());
    // Asked for again each time, so that a new binary's pages fit each other.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Whether the browser has this very page (RFC 9110 13.1.2; compared weakly).
fn has(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let lines = request.get_all(header::IF_NONE_MATCH).iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).any(|given| {
        let given = given.trim();
        given == "*" || given.strip_prefix("W/").unwrap_or(given).as_bytes() == tag.as_bytes()
    })
}
