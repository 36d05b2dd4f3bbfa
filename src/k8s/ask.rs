//! One request: its attempts, its deadline, and what a refusal says.
//!
//! A read is repeated until its deadline while the server is away or busy. What changes something is repeated only where
//! it certainly never arrived: whoever sends it looks at what became of it before sending it again.

use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::client::Session;
use super::error::{Error, Said};
use super::name::encoded;

/// The first pause between two attempts, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// What is asked for, behind `cannot`.
    pub(super) what: String,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) accept: &'static str,
    /// What is sent, with its media type.
    pub(super) body: Option<(&'static str, Value)>,
    /// Whether it changes nothing, and can be sent again.
    pub(super) reads: bool,
}

impl Ask {
    /// A read.
    pub(super) fn get(what: String, path: impl Into<String>) -> Self {
        let (path, query) = (path.into(), Vec::new());
        Self { what, method: Method::GET, path, query, accept: "application/json", body: None, reads: true }
    }

    /// With a parameter, unless that is empty.
    pub(super) fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.query.push((key, value));
        }
        self
    }

    fn request(&self) -> Result<Request<Body>, http::Error> {
        let query: Vec<_> = self.query.iter().map(|(key, value)| format!("{key}={}", encoded(value))).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let request = Request::builder()
            .method(&self.method)
            .uri(format!("{}{mark}{}", self.path, query.join("&")))
            .header(header::ACCEPT, self.accept);
        match &self.body {
            None => request.body(Body::empty()),
            Some((kind, body)) => {
                request.header(header::CONTENT_TYPE, *kind).body(Body::from(body.to_string().into_bytes()))
            }
        }
    }
}

/// An attempt that failed.
struct Failed {
    error: Error,
    /// When the server wants to be asked again.
    after: Option<Duration>,
    /// It certainly never arrived.
    unsent: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, after: None, unsent: false }
    }
}

impl Session {
    /// Sends a request, and again as far as that is harmless; what the server answers.
    pub(super) async fn bytes(&self, ask: &Ask) -> Result<Vec<u8>, Error> {
        let end = Instant::now() + self.timeout;
        let (mut pause, longest) = PAUSES;
        let mut last = None;
        loop {
            let failed = match timeout(end.saturating_duration_since(Instant::now()), self.once(ask)).await {
                Ok(Ok(bytes)) => return Ok(bytes),
                Ok(Err(failed)) => failed,
                Err(_) => {
                    let (server, after) = (self.server.clone(), self.timeout);
                    return Err(Error::Silent { server, after, last });
                }
            };
            let again = failed.unsent || (ask.reads && failed.error.is_passing());
            let wait = failed.after.unwrap_or(pause);
            if !again || Instant::now() + wait >= end {
                return Err(failed.error);
            }
            sleep(wait).await;
            pause = (pause * 2).min(longest);
            last = Some(failed.error.into());
        }
    }

    /// The same, for what is answered in JSON.
    pub(super) async fn json(&self, ask: &Ask) -> Result<Value, Error> {
        let bytes = self.bytes(ask).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.odd(ask, error.into()))
    }

    fn odd(&self, ask: &Ask, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        Error::Answer { server: self.server.clone(), what: ask.what.clone(), source }
    }

    async fn once(&self, ask: &Ask) -> Result<Vec<u8>, Failed> {
        let request = ask.request().map_err(|error| self.odd(ask, error.into()))?;
        let response = self.client.send(request).await.map_err(|error| self.failed(error))?;
        let status = response.status();
        let after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.into_body().collect().await.map_err(|error| self.failed(error))?.to_bytes();
        if status.is_success() {
            return Ok(body.into());
        }
        // It says when it will have room again, and has not begun.
        let unsent = status == StatusCode::TOO_MANY_REQUESTS && after.is_some() && !ask.path.ends_with("/eviction");
        Err(Failed { error: refused(ask, status, &body), after: after.map(Duration::from_secs), unsent })
    }

    /// What a request means that got no answer.
    fn failed(&self, error: kube::Error) -> Failed {
        let server = self.server.clone();
        let kind = io_kind(&error);
        let unsent = kind == Some(std::io::ErrorKind::ConnectionRefused);
        let error = match error {
            kube::Error::Auth(source) => Error::Login { server, source: source.into() },
            // What rustls says of a certificate.
            source if kind == Some(std::io::ErrorKind::InvalidData) => {
                Error::Untrusted { server, source: source.into() }
            }
            source => Error::Unreachable { server, source: source.into() },
        };
        Failed { error, after: None, unsent }
    }
}

/// What sort of failed system call is at the bottom of an error.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    let mut next = Some(error);
    let mut found = None;
    while let Some(at) = next {
        next = match at.downcast_ref::<std::io::Error>() {
            Some(io) => {
                found = Some(io.kind());
                // Its own source leaves out the error that it wraps.
                io.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static))
            }
            None => at.source(),
        };
    }
    found
}

/// What the server says of what it refuses.
fn refused(ask: &Ask, status: StatusCode, body: &[u8]) -> Error {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
    let mut message = text("message");
    if message.is_empty() {
        // A proxy in between, which knows nothing of Kubernetes.
        let start = String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned();
        message = format!("{status}{}{start}", if start.is_empty() { "" } else { ": " });
    }
    let (what, code, reason) = (ask.what.clone(), status.as_u16(), text("reason"));
    Error::Refused { what, code, reason, said: Said(message).into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_request_has_its_parameters_and_its_body() {
        let ask = Ask::get("list".into(), "/api/v1/pods").with("labelSelector", "a=b,c").with("fieldSelector", "");
        assert_eq!(ask.request().unwrap().uri(), "/api/v1/pods?labelSelector=a%3Db%2Cc");
        assert_eq!(Ask::get("get".into(), "/version").request().unwrap().uri(), "/version");
    }

    #[test]
    fn a_refusal_has_the_words_of_the_server() {
        let ask = Ask::get("get `pods/x`".into(), "/api/v1/pods/x");
        let of = |code: u16, body: &str| match refused(&ask, StatusCode::from_u16(code).unwrap(), body.as_bytes()) {
            Error::Refused { code, reason, said, .. } => format!("{code} {reason} {said}"),
            other => panic!("{other}"),
        };
        let status = r#"{"kind":"Status","message":"pods \"x\" is forbidden","reason":"Forbidden","code":403}"#;
        assert_eq!(of(403, status), "403 Forbidden pods \"x\" is forbidden");
        assert_eq!(of(502, "<html>bad gateway"), "502  502 Bad Gateway: <html>bad gateway");
        assert_eq!(of(503, ""), "503  503 Service Unavailable");
    }
}
