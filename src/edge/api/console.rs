//! The pages, with their scripts and styles: one to chat from, the operators' console, and the
//! contract that programs read with the page that shows it. Embedded in the binary, so that they
//! work where the hub works.

use std::future::ready;
use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Scripts and styles come from the hub only, pictures of people from anywhere; sockets may lead
/// to any hub; no other site may show the console in a frame.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; \
    img-src 'self' data: https:; base-uri 'none'; frame-ancestors 'none'";

struct WebFile {
    /// Where it is served.
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const PAGE: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const DATA: &str = "application/json";
/// What editors and Deno read of the client's types; a browser shows it.
const TYPES: &str = "text/plain; charset=utf-8";

macro_rules! files {
    ($path:literal of $folder:literal; $($kind:ident: $($name:literal)*;)*) => {&[$($(WebFile {
        path: concat!($path, $name),
        kind: $kind,
        text: include_str!(concat!("../../console/", $folder, $name)),
    }),*),*]};
}

const CHAT: &[WebFile] = files! {
    "/" of "";
    PAGE: "index.html";
    STYLE: "style.css" "chat.css";
    SCRIPT: "actions.js" "announcer.js" "app.js" "composer.js" "copying.js" "element.js" "en.js"
        "es.js" "memory.js" "message.js" "naming.js" "notices.js" "notifier.js" "options.js"
        "people.js" "pictures.js" "scroll.js" "search.js" "session.js" "sought.js" "texts.js"
        "theme.js" "timeline.js" "unread.js" "viewport.js" "words.js" "client.js"
        "client/history.js" "client/http.js" "client/link.js" "client/outbox.js" "client/replay.js"
        "client/roster.js" "client/seams.js" "client/token.js";
    TYPES: "client.d.ts";
};

/// Shows nothing by itself: what it asks for is an operator's.
const CONSOLE: &[WebFile] = files! {
    "/console/" of "operator/";
    PAGE: "index.html";
    STYLE: "style.css" "vendor/uPlot.min.css";
    SCRIPT: "app.js" "connections.js" "en.js" "es.js" "feed.js" "frames.js" "hub.js" "overview.js"
        "parts.js" "spaces.js" "store.js" "vendor/uPlot.iife.min.js";
};

/// Shows people the contract that programs read.
const CONTRACT: &[WebFile] = files! {
    "/" of "";
    PAGE: "docs.html";
    STYLE: "docs.css";
    SCRIPT: "docs.js";
};

/// The contract itself.
const DOCUMENTS: &[WebFile] = files! {
    "/" of "../../docs/";
    DATA: "openapi.json" "asyncapi.json";
};

/// The pages, their scripts and their styles.
pub(crate) fn routes() -> Router {
    CHAT.iter().chain(CONSOLE).chain(CONTRACT).chain(DOCUMENTS).fold(
        Router::new(),
        |router, file| {
            let tag = tag(file.text);
            // A page's address is that of a folder.
            let path = match file.path {
                "/index.html" => "/",
                "/console/index.html" => "/console",
                path => path.strip_suffix(".html").unwrap_or(path),
            };
            router.route(path, get(move |headers: HeaderMap| ready(answer(file, &tag, &headers))))
        },
    )
}

/// An `ETag`: the files change with the binary only.
fn tag(text: &str) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    HeaderValue::try_from(format!("\"{:016x}\"", hasher.finish())).expect("a tag is ASCII")
}

fn answer(file: &WebFile, tag: &HeaderValue, request: &HeaderMap) -> Response {
    let mut response = if has(request, tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, file.kind)], file.text).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag.clone());
    // The browser asks again each time, so that it never mixes the files of two binaries.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Whether the browser has this very file (RFC 9110 13.1.2; compared weakly).
fn has(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let lines = request.get_all(header::IF_NONE_MATCH).iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).any(|given| {
        let given = given.trim();
        given == "*" || given.strip_prefix("W/").unwrap_or(given).as_bytes() == tag.as_bytes()
    })
}
