//! `[api]`: what is answered by HTTP, to whom, and how much of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use super::Span;

/// The variable that holds the token.
pub(super) const TOKEN_VARIABLE: &str = "SCORER_API_TOKEN";
/// A shorter one is guessed.
const SHORTEST_TOKEN: usize = 16;

/// `[api]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSection {
    /// Where it listens.
    pub listen: String,
    /// What callers say in `Authorization: Bearer …`; `SCORER_API_TOKEN` overrides it.
    pub token: Option<Token>,
    /// The file that holds it, instead.
    pub token_file: Option<String>,
    /// Whether an address that others reach may be listened at without a token.
    pub allow_anonymous: bool,
    /// Whether `/metrics` wants the token as well.
    pub protect_metrics: bool,
    /// The largest body that is read, in bytes.
    pub max_body: usize,
    /// Rows of one request at most.
    pub max_rows: usize,
    /// Requests a second and caller (an address, or an IPv6 network); 0 for no limit.
    pub rate_limit: f64,
    /// How many a caller may send at once that was silent before.
    pub rate_burst: u32,
    /// Requests that are under way at once, over all callers.
    pub max_requests: usize,
    /// Connections at once, over all callers.
    pub max_connections: usize,
    /// How many requests are scored at once.
    pub scoring_threads: usize,
    /// How long a request may take, its body included.
    pub timeout: Span,
    /// Predictions that are remembered; 0 for none.
    pub predictions: usize,
    /// What they take at most, in bytes.
    pub predictions_bytes: usize,
    /// Readers of `/v1/events` at once.
    pub max_streams: usize,
    /// Events that such a reader may have unread; one that is slower misses some, and is told.
    pub stream_buffer: usize,
}

impl Default for ApiSection {
    fn default() -> Self {
        let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            listen: "127.0.0.1:8800".to_owned(),
            token: None,
            token_file: None,
            allow_anonymous: false,
            protect_metrics: false,
            max_body: 8 << 20,
            max_rows: 10_000,
            rate_limit: 100.0,
            rate_burst: 200,
            max_requests: 64,
            max_connections: 512,
            // The loop has the rest.
            scoring_threads: (n_cores / 2).max(1),
            timeout: Span(Duration::from_secs(30)),
            predictions: 100_000,
            predictions_bytes: 128 << 20,
            max_streams: 64,
            stream_buffer: 4_096,
        }
    }
}

/// A bearer token. It is compared in constant time, and never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// Whether this is the token.
    #[must_use]
    pub fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }

    fn check(self) -> Result<Self, TokenError> {
        if !self.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Letters);
        }
        match self.0.len() {
            0..SHORTEST_TOKEN => Err(TokenError::Short),
            _ => Ok(self),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A token that can't be used.
#[derive(Debug, Error)]
pub enum TokenError {
    /// Its file can't be read.
    #[error("the token's file `{path}` can't be read")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It can't stand in a header.
    #[error("the token holds what is no visible ASCII letter")]
    Letters,
    /// It is too short.
    #[error("the token is shorter than {SHORTEST_TOKEN} letters")]
    Short,
}

impl ApiSection {
    pub(super) fn override_by(&mut self, environment: &BTreeMap<String, String>) {
        if let Some(token) = environment
            .get(TOKEN_VARIABLE)
            .filter(|token| !token.is_empty())
        {
            self.token = Some(Token(token.clone()));
            self.token_file = None;
        }
    }

    pub(super) fn check(&self, that: &mut impl FnMut(bool, &str, &str)) {
        let has_port = self
            .listen
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        that(has_port, "api.listen", "HOST:PORT is needed");
        that(
            self.token.is_none() || self.token_file.is_none(),
            "api.token_file",
            "it stands beside `api.token`; one of them is needed",
        );
        let is_guarded = self.token.is_some() || self.token_file.is_some();
        that(
            is_guarded || self.allow_anonymous || is_loopback(&self.listen),
            "api.listen",
            "others reach this address: give a token in `api.token_file` or SCORER_API_TOKEN, or say `allow_anonymous = true`",
        );
        if let Some(token) = self.token.clone()
            && let Err(error) = token.check()
        {
            that(false, "api.token", &error.to_string());
        }
        that(
            !self.protect_metrics || is_guarded,
            "api.protect_metrics",
            "there is no token to protect them by",
        );
        let numbers = [
            ("api.max_body", self.max_body, 1 << 10, 1 << 30),
            ("api.max_rows", self.max_rows, 1, 1_000_000),
            ("api.max_requests", self.max_requests, 1, 100_000),
            ("api.max_connections", self.max_connections, 1, 100_000),
            ("api.scoring_threads", self.scoring_threads, 1, 256),
            ("api.predictions", self.predictions, 0, 10_000_000),
            (
                "api.predictions_bytes",
                self.predictions_bytes,
                1 << 16,
                1 << 36,
            ),
            ("api.max_streams", self.max_streams, 0, 100_000),
            ("api.stream_buffer", self.stream_buffer, 16, 1 << 20),
        ];
        for (key, number, least, most) in numbers {
            that(
                (least..=most).contains(&number),
                key,
                &format!("{least} to {most} is needed"),
            );
        }
        that(
            self.rate_limit >= 0.0 && self.rate_limit.is_finite(),
            "api.rate_limit",
            "a number that isn't negative is needed",
        );
        that(
            self.rate_burst >= 1,
            "api.rate_burst",
            "1 or more is needed",
        );
        that(
            self.timeout.micros() >= 100_000,
            "api.timeout",
            "100 ms or more is needed",
        );
    }

    /// The token, where one is wanted.
    ///
    /// # Errors
    /// Its file can't be read, or holds none.
    pub fn read_token(&self) -> Result<Option<Token>, TokenError> {
        let Some(path) = &self.token_file else {
            return Ok(self.token.clone());
        };
        let text = std::fs::read_to_string(Path::new(path)).map_err(|source| TokenError::Io {
            path: path.clone(),
            source,
        })?;
        Token(text.trim().to_owned()).check().map(Some)
    }
}

/// Whether nobody but this machine reaches an address.
fn is_loopback(listen: &str) -> bool {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_compared_and_never_shown() {
        let section = ApiSection {
            token: Some(Token("0123456789abcdef".to_owned())),
            ..ApiSection::default()
        };
        assert!(!format!("{section:?}").contains("0123"));
        let token = section.read_token().unwrap().unwrap();
        assert!(token.is(b"0123456789abcdef"));
        assert!(!token.is(b"0123456789abcdeF") && !token.is(b"0123") && !token.is(b""));
    }

    #[test]
    fn a_file_holds_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let section = ApiSection {
            token_file: Some(path.to_string_lossy().into_owned()),
            ..ApiSection::default()
        };
        assert!(section.read_token().is_err());
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        assert!(
            section
                .read_token()
                .unwrap()
                .unwrap()
                .is(b"0123456789abcdef")
        );
        std::fs::write(&path, "short").unwrap();
        let error = section.read_token().unwrap_err().to_string();
        assert!(error.contains("shorter than 16") && !error.contains("short`"));
    }

    #[test]
    fn what_others_reach_is_known() {
        for listen in ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.9.9.9:1"] {
            assert!(is_loopback(listen), "{listen}");
        }
        for listen in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "scorer:1"] {
            assert!(!is_loopback(listen), "{listen}");
        }
    }
}
