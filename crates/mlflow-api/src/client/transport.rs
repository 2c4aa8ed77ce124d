//! One request: authorization, retries, error bodies.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::io::ReaderStream;

use super::{ClientError, Credentials};
use crate::error::ErrorBody;

/// How patient a client is.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Time for a connection to be made.
    pub connect_timeout: Duration,
    /// Time for one request and its answer; artifacts get more, by their size.
    pub timeout: Duration,
    /// How often a request is repeated after a transient failure.
    pub max_retries: u32,
    /// The first pause; it doubles each time, with jitter, up to 10 s.
    pub backoff: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(120),
            max_retries: 5,
            backoff: Duration::from_millis(200),
        }
    }
}

/// A client of one tracking server; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    credentials: Credentials,
    options: ClientOptions,
}

/// Whether a request may be sent again when the server may have seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    Safe,
    Unsafe,
}

pub(super) enum Payload {
    None,
    Query(Vec<(String, String)>),
    Json(Bytes),
    Bytes(Bytes),
    File { path: PathBuf, size: u64 },
}

const MAX_BACKOFF: Duration = Duration::from_secs(10);
const LONGEST_STREAM: Duration = Duration::from_secs(24 * 3600);

impl Client {
    /// A client of the server at `tracking_uri`: an http(s) URL, with a path prefix where a proxy
    /// has one. Credentials inside the URL are used and never shown.
    ///
    /// # Errors
    /// [`ClientError::InvalidUri`] when it is no such URL.
    pub fn new(
        tracking_uri: &str,
        credentials: Credentials,
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        let mut url = Url::parse(tracking_uri).map_err(|error| ClientError::InvalidUri {
            // What does not parse may hold a password; only its scheme is safe to show.
            uri: tracking_uri.split_once("://").map_or_else(
                || tracking_uri.to_owned(),
                |(scheme, _)| format!("{scheme}://…"),
            ),
            reason: error.to_string(),
        })?;
        let mut credentials = credentials;
        if !url.username().is_empty() {
            let decode = |text: &str| percent_decode(text);
            if credentials == Credentials::None {
                credentials = Credentials::Basic {
                    username: decode(url.username()),
                    password: decode(url.password().unwrap_or_default()),
                };
            }
        }
        // Both can only fail for URLs without a host, which `http` URLs always have.
        url.set_username("").ok();
        url.set_password(None).ok();
        let has_query = url.query().is_some() || url.fragment().is_some();
        url.set_query(None);
        url.set_fragment(None);
        let invalid = |reason: &str| ClientError::InvalidUri {
            uri: url.to_string(),
            reason: reason.to_owned(),
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("only http and https are supported"));
        }
        if has_query {
            return Err(invalid("a query or a fragment has no place in it"));
        }
        let base = url.as_str().trim_end_matches('/').to_owned();
        let http = reqwest::Client::builder()
            .connect_timeout(options.connect_timeout)
            .user_agent(concat!("foreshock/", env!("CARGO_PKG_VERSION")))
            .tcp_nodelay(true)
            .build()
            .map_err(|source| ClientError::Unreachable {
                server: base.clone(),
                source,
            })?;
        Ok(Self {
            http,
            base,
            credentials,
            options,
        })
    }

    /// The server's base URL, without credentials and without a slash at its end.
    #[must_use]
    pub fn tracking_uri(&self) -> &str {
        &self.base
    }

    pub(super) fn rpc_url(&self, path: &str) -> String {
        format!("{}/api/2.0/mlflow/{path}", self.base)
    }

    /// Sends a GET with `request` as its query parameters.
    pub(super) async fn get<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        request: &Q,
    ) -> Result<A, ClientError> {
        let payload = Payload::Query(self.query(request)?);
        let response = self
            .send(Method::GET, &self.rpc_url(path), &payload, Repeat::Safe)
            .await?;
        self.json(response).await
    }

    /// Sends `request` as JSON.
    pub(super) async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        request: &Q,
        repeat: Repeat,
    ) -> Result<A, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.unreadable(&error))?;
        let payload = Payload::Json(body.into());
        let response = self
            .send(method, &self.rpc_url(path), &payload, repeat)
            .await?;
        self.json(response).await
    }

    /// Sends `request` as JSON by POST, repeating it freely.
    pub(super) async fn post<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        request: &Q,
    ) -> Result<A, ClientError> {
        self.call(Method::POST, path, request, Repeat::Safe).await
    }

    pub(super) async fn json<A: DeserializeOwned>(
        &self,
        response: Response,
    ) -> Result<A, ClientError> {
        let body = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(error))?;
        serde_json::from_slice(&body).map_err(|error| self.unreadable(&error))
    }

    /// Sends a request until it is answered for good.
    ///
    /// The answer's status is 2xx; anything else is an error.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        payload: &Payload,
        repeat: Repeat,
    ) -> Result<Response, ClientError> {
        let mut attempt = 0;
        loop {
            let request = self.request(method.clone(), url, payload).await?;
            let (error, again, wait) = match request.send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let status = response.status();
                    let wait = retry_after(&response);
                    let again = match status {
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => true,
                        StatusCode::INTERNAL_SERVER_ERROR
                        | StatusCode::BAD_GATEWAY
                        | StatusCode::GATEWAY_TIMEOUT => repeat == Repeat::Safe,
                        _ => false,
                    };
                    (refusal(response).await, again, wait)
                }
                Err(error) => {
                    let again =
                        error.is_connect() || (repeat == Repeat::Safe && !error.is_builder());
                    (self.unreachable(error), again, None)
                }
            };
            if !again || attempt >= self.options.max_retries {
                return Err(error);
            }
            tokio::time::sleep(wait.unwrap_or_else(|| jittered(self.options.backoff, attempt)))
                .await;
            attempt += 1;
        }
    }

    /// Opens a GET whose answer goes on until the server ends it; not repeated.
    pub(super) async fn open(
        &self,
        url: &str,
        query: Vec<(String, String)>,
    ) -> Result<Response, ClientError> {
        let payload = Payload::Query(query);
        let request = self.request(Method::GET, url, &payload).await?;
        // The caller notices silence; this is only the end of what no caller reads.
        let request = request.timeout(LONGEST_STREAM);
        let answer = match tokio::time::timeout(self.options.timeout, request.send()).await {
            Ok(answer) => answer.map_err(|error| self.unreachable(error))?,
            Err(_) => {
                return Err(ClientError::Refused {
                    status: 408,
                    error_code: "HTTP_408".to_owned(),
                    message: "no answer came in time".to_owned(),
                });
            }
        };
        if answer.status().is_success() {
            Ok(answer)
        } else {
            Err(refusal(answer).await)
        }
    }

    pub(super) fn max_retries(&self) -> u32 {
        self.options.max_retries
    }

    /// The pause before the attempt after `attempt` failed ones.
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        jittered(self.options.backoff, attempt)
    }

    async fn request(
        &self,
        method: Method,
        url: &str,
        payload: &Payload,
    ) -> Result<RequestBuilder, ClientError> {
        let mut request = self.http.request(method, url);
        request = match &self.credentials {
            Credentials::None => request,
            Credentials::Basic { username, password } => {
                request.basic_auth(username, Some(password))
            }
            Credentials::Bearer(token) => request.bearer_auth(token),
        };
        Ok(match payload {
            Payload::None => request.timeout(self.options.timeout),
            Payload::Query(pairs) => request.timeout(self.options.timeout).query(pairs),
            Payload::Json(body) => request
                .timeout(self.options.timeout)
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone()),
            Payload::Bytes(body) => request
                .timeout(self.patience(body.len() as u64))
                .body(body.clone()),
            Payload::File { path, size } => {
                let file =
                    tokio::fs::File::open(path)
                        .await
                        .map_err(|source| ClientError::File {
                            path: path.display().to_string(),
                            source,
                        })?;
                request
                    .timeout(self.patience(*size))
                    .header(reqwest::header::CONTENT_LENGTH, *size)
                    .body(reqwest::Body::wrap_stream(ReaderStream::with_capacity(
                        file,
                        256 * 1024,
                    )))
            }
        })
    }

    /// The time for `size` bytes, at no less than 1 MiB a second.
    pub(super) fn patience(&self, size: u64) -> Duration {
        self.options.timeout + Duration::from_secs(size >> 20)
    }

    /// The fields of a flat message as query parameters; lists repeat their name.
    fn query<Q: Serialize>(&self, request: &Q) -> Result<Vec<(String, String)>, ClientError> {
        let value = serde_json::to_value(request).map_err(|error| self.unreadable(&error))?;
        let mut pairs = Vec::new();
        let mut push = |key: &str, value: &serde_json::Value| match value {
            serde_json::Value::String(text) => pairs.push((key.to_owned(), text.clone())),
            other => pairs.push((key.to_owned(), other.to_string())),
        };
        for (key, value) in value.as_object().into_iter().flatten() {
            match value {
                serde_json::Value::Array(items) => items.iter().for_each(|item| push(key, item)),
                one => push(key, one),
            }
        }
        Ok(pairs)
    }

    pub(super) fn unreachable(&self, source: reqwest::Error) -> ClientError {
        ClientError::Unreachable {
            server: self.base.clone(),
            source: source.without_url(),
        }
    }

    pub(super) fn unreadable(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Unreadable {
            server: self.base.clone(),
            reason: reason.to_string(),
        }
    }
}

async fn refusal(response: Response) -> ClientError {
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap_or_default();
    match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(error) => ClientError::Refused {
            status,
            error_code: error.error_code,
            message: error.message,
        },
        Err(_) => {
            let text = String::from_utf8_lossy(&body);
            ClientError::Refused {
                status,
                error_code: format!("HTTP_{status}"),
                message: text.trim().chars().take(200).collect(),
            }
        }
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u64 = response
        .headers()
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).min(MAX_BACKOFF))
}

/// Between a half and the whole of `first · 2^attempt`, at most 10 s.
fn jittered(first: Duration, attempt: u32) -> Duration {
    let full = first
        .saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX))
        .min(MAX_BACKOFF);
    // A hasher's random keys are all the randomness that spreading clients out needs.
    let random = RandomState::new().hash_one(attempt) as f64 / u64::MAX as f64;
    full.mul_f64(0.5 + 0.5 * random)
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        match hex
            .filter(|_| *first == b'%')
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(uri: &str) -> Result<Client, ClientError> {
        Client::new(uri, Credentials::None, ClientOptions::default())
    }

    #[test]
    fn credentials_in_the_uri_are_used_and_hidden() {
        let client = client("http://ann:p%40ss@localhost:5000/mlflow/").unwrap();
        assert_eq!(client.tracking_uri(), "http://localhost:5000/mlflow");
        assert_eq!(
            client.credentials,
            Credentials::Basic {
                username: "ann".into(),
                password: "p@ss".into()
            }
        );
        assert!(!format!("{client:?}").contains("p@ss"));
    }

    #[test]
    fn refused_uris_are_shown_without_secrets() {
        for bad in [
            "postgresql://ann:s3cret@h/db",
            "http://h/?token=s3cret",
            "http://h/#s3cret",
            "http://:s3cret@h/?a",
        ] {
            let error = client(bad).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
        let no_user = client("http://:s3cret@h/").unwrap();
        assert_eq!(no_user.tracking_uri(), "http://h");
    }

    #[test]
    fn only_http_uris_are_taken() {
        for bad in ["sqlite:///a.db", "./mlruns", "http://h/?a=b", "http://"] {
            assert!(
                matches!(client(bad), Err(ClientError::InvalidUri { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        for attempt in 0..64 {
            let pause = jittered(Duration::from_millis(200), attempt);
            assert!(pause >= Duration::from_millis(100) && pause <= MAX_BACKOFF);
        }
    }
}
