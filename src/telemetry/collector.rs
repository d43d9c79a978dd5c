//! The way to the collector: OTLP over HTTP, protobuf within, a connection for each request.
//!
//! Decides what an answer means for the spans that were sent; keeps none of them. Each try has its
//! time, and an answer its bound, whatever the collector does.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::endpoint::{Endpoint, Headers};
use super::proto::Response;
use crate::limits::COLLECTOR_ANSWER_BYTES_MAX;

/// How long a request and its answer may take together.
const REQUEST_WAIT: Duration = Duration::from_secs(10);
/// The longest that a collector may ask not to be asked again.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("cpi-hub/", env!("CARGO_PKG_VERSION")));

/// Why spans were not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NotTaken {
    /// They may be at another time: not before the one that the collector says.
    Now(String, Option<Duration>),
    /// They will not be.
    Ever(String),
}

/// An answer.
type Answer = (StatusCode, HeaderMap, Bytes);

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Where spans are sent.
pub(super) struct Collector {
    endpoint: Endpoint,
    headers: Headers,
    /// `None`: it is spoken to plainly.
    tls: Option<TlsConnector>,
}

impl Collector {
    /// Nothing is sent yet.
    pub(super) fn new(
        endpoint: Endpoint,
        headers: Headers,
        tls: Option<ClientConfig>,
    ) -> Collector {
        let tls = tls.map(|config| TlsConnector::from(Arc::new(config)));
        Collector { endpoint, headers, tls }
    }

    /// Sends an encoded request; how many of its spans the collector has refused.
    pub(super) async fn post(&self, body: Vec<u8>) -> Result<u64, NotTaken> {
        let asked = tokio::time::timeout(REQUEST_WAIT, self.ask(body)).await;
        let late = || format!("no answer within {} s", REQUEST_WAIT.as_secs());
        let answer = asked.unwrap_or_else(|_| Err(late()));
        let told = |why| format!("{}: {why}", self.endpoint.authority);
        judge(answer.map_err(|why| NotTaken::Now(told(why), None))?).map_err(|not| match not {
            NotTaken::Now(why, wait) => NotTaken::Now(told(why), wait),
            NotTaken::Ever(why) => NotTaken::Ever(told(why)),
        })
    }

    async fn ask(&self, body: Vec<u8>) -> Result<Answer, String> {
        let request = self.request(body).map_err(|error| error.to_string())?;
        let stream = self.connect().await.map_err(|error| error.to_string())?;
        let connection = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, driver) = connection.map_err(|error| error.to_string())?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|it| it.to_string())?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, COLLECTOR_ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            Ok((head.status, head.headers, body))
        };
        match select(Box::pin(exchange), Box::pin(driver)).await {
            Either::Left((answer, _)) => answer,
            // The connection has ended; what came of the answer is there.
            Either::Right((_, exchange)) => exchange.await,
        }
    }

    fn request(&self, body: Vec<u8>) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::post(self.endpoint.path.as_str())
            .header(HOST, self.endpoint.authority.as_str())
            .body(Full::new(Bytes::from(body)))?;
        let own = [
            (CONTENT_TYPE, PROTOBUF),
            (USER_AGENT, AGENT),
            (CONNECTION, HeaderValue::from_static("close")),
        ];
        let headers = request.headers_mut();
        headers.extend(self.headers.all().clone());
        headers.extend(own);
        Ok(request)
    }

    async fn connect(&self) -> io::Result<Box<dyn Duplex>> {
        let Endpoint { host, port, .. } = &self.endpoint;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }
}

/// What an answer means, by the rules of OTLP over HTTP.
fn judge((status, headers, body): Answer) -> Result<u64, NotTaken> {
    if status.is_success() {
        // A body that is no answer is of a collector that has taken all.
        let partial = Response::decode(body).ok().and_then(|answer| answer.partial_success);
        return Ok(partial.map_or(0, |it| u64::try_from(it.rejected_spans).unwrap_or(0)));
    }
    let why = format!("it answered {}", status.as_u16());
    match status.as_u16() {
        429 | 502 | 503 | 504 => {
            let seconds = headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok()?.parse().ok());
            let wait = seconds.map(|it| Duration::from_secs(it).min(RETRY_AFTER_MAX));
            Err(NotTaken::Now(why, wait))
        }
        _ => Err(NotTaken::Ever(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::proto::PartialSuccess;

    fn judged(
        status: u16,
        retry_after: Option<&'static str>,
        body: Vec<u8>,
    ) -> Result<u64, NotTaken> {
        let mut headers = HeaderMap::new();
        headers.extend(retry_after.map(|it| (RETRY_AFTER, HeaderValue::from_static(it))));
        judge((StatusCode::from_u16(status).expect("a status"), headers, body.into()))
    }

    #[test]
    fn an_answer_says_whether_spans_are_sent_again() {
        let partial = Response { partial_success: Some(PartialSuccess { rejected_spans: 7 }) };
        assert_eq!(judged(200, None, Vec::new()), Ok(0));
        assert_eq!(judged(202, None, b"no protobuf".to_vec()), Ok(0));
        assert_eq!(judged(200, None, partial.encode_to_vec()), Ok(7));
        for status in [429, 502, 503, 504] {
            let why = format!("it answered {status}");
            let now = |wait| Err(NotTaken::Now(why.clone(), wait));
            assert_eq!(judged(status, None, Vec::new()), now(None));
            let seconds = |it| Some(Duration::from_secs(it));
            assert_eq!(judged(status, Some("7"), Vec::new()), now(seconds(7)));
            assert_eq!(judged(status, Some("86400"), Vec::new()), now(seconds(60)));
            assert_eq!(judged(status, Some("soon"), Vec::new()), now(None));
        }
        for status in [301, 400, 401, 404, 415, 500] {
            let why = format!("it answered {status}");
            assert_eq!(judged(status, None, Vec::new()), Err(NotTaken::Ever(why)));
        }
    }
}
