//! Against pages in a browser that talk to a server on the same machine: the `Host` must be one of
//! this machine's (DNS rebinding), a change must not come from a foreign page (CSRF), and only
//! pages that may read answers are told so (CORS). The rules and texts are MLflow's.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderValue, ORIGIN, VARY,
};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

const BAD_HOST: &str = "Invalid Host header - possible DNS rebinding attack detected";
const BAD_ORIGIN: &str = "Cross-origin request blocked";
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, DELETE, OPTIONS, PATCH");

/// Which hosts and origins are let in.
#[derive(Debug)]
pub(super) struct Origins {
    /// Patterns; empty stands for this machine and private addresses.
    hosts: Vec<String>,
    any_host: bool,
    /// Patterns, beside this machine's.
    origins: Vec<String>,
    any_origin: bool,
}

impl Origins {
    pub(super) fn new(hosts: &[String], origins: &[String]) -> Self {
        let clean = |list: &[String]| -> Vec<String> {
            list.iter()
                .map(|item| item.trim().to_ascii_lowercase())
                .filter(|item| !item.is_empty())
                .collect()
        };
        let (hosts, origins) = (clean(hosts), clean(origins));
        Self {
            any_host: hosts.iter().any(|host| host == "*"),
            any_origin: origins.iter().any(|origin| origin == "*"),
            hosts,
            origins,
        }
    }

    /// The answer to a request that is not let in, or that only asks whether it would be.
    pub(super) fn answer(&self, request: &Request<Body>) -> Option<Response> {
        let headers = request.headers();
        let host = text(headers, HOST).or_else(|| request.uri().authority().map(|a| a.as_str()));
        let exempt = matches!(
            request.uri().path(),
            "/health" | "/version" | "/livez" | "/readyz"
        );
        if !exempt && !self.any_host && !host.is_some_and(|host| self.host_is_allowed(host)) {
            return Some((StatusCode::FORBIDDEN, BAD_HOST).into_response());
        }
        // Most clients are no browser.
        if !headers.contains_key(ORIGIN) {
            return None;
        }
        // An origin that can't be read is a foreign one.
        let origin = text(headers, ORIGIN).unwrap_or("null");
        let changes = matches!(
            *request.method(),
            Method::POST | Method::PUT | Method::PATCH | Method::DELETE
        );
        let own = self.origin_is_allowed(origin) || is_same(origin, host);
        if changes && !own {
            return Some((StatusCode::FORBIDDEN, BAD_ORIGIN).into_response());
        }
        let preflight = *request.method() == Method::OPTIONS
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        preflight.then(|| {
            let mut response = StatusCode::NO_CONTENT.into_response();
            if self.grant(headers, response.headers_mut()) {
                let grants = response.headers_mut();
                grants.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
                grants.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
                if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
                    grants.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
                }
            }
            response
        })
    }

    /// Tells the browser that the page that asked may read the answer, if it may.
    pub(super) fn grant(&self, request: &HeaderMap, response: &mut HeaderMap) -> bool {
        let Some(origin) = request.get(ORIGIN) else {
            return false;
        };
        if self.any_origin {
            // Any page may read, but none with the user's credentials.
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            response.append(VARY, HeaderValue::from_static("origin"));
            let allowed = origin
                .to_str()
                .is_ok_and(|origin| self.origin_is_allowed(origin));
            if !allowed {
                return false;
            }
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            response.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        response.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("ETag, Content-Range, X-Request-Id"),
        );
        true
    }

    fn origin_is_allowed(&self, origin: &str) -> bool {
        let of_loopback = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
            .is_some_and(is_loopback);
        self.any_origin
            || of_loopback
            || (!self.origins.is_empty() && {
                let origin = origin.to_ascii_lowercase();
                self.origins.iter().any(|allowed| matches(allowed, &origin))
            })
    }

    /// This machine, a private address (which a rebound name never shows), or a name that was
    /// allowed.
    fn host_is_allowed(&self, host: &str) -> bool {
        // Where names are given they stand alone, as with MLflow; this machine's own stay, so that
        // health checks and people on it get through.
        if is_loopback(host) {
            return true;
        }
        if !self.hosts.is_empty() {
            let host = host.to_ascii_lowercase();
            return self
                .hosts
                .iter()
                .any(|allowed| matches(allowed, &host) || matches(allowed, name_of(&host)));
        }
        match name_of(host).parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => address.is_private() || address.is_unspecified(),
            Ok(IpAddr::V6(address)) => address.is_unique_local(),
            Err(_) => false,
        }
    }
}

fn text(headers: &HeaderMap, name: axum::http::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A page that this server itself sent.
fn is_same(origin: &str, host: Option<&str>) -> bool {
    match (origin.split_once("://"), host) {
        (Some((_, origin)), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    }
}

fn name_of(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

fn is_loopback(host: &str) -> bool {
    let name = name_of(host);
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Whether `text` is what `pattern` says; `*` is any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins() -> Origins {
        Origins::new(
            &["mlflow.example.org".to_owned(), "*.internal".to_owned()],
            &["https://dash.example.org".to_owned()],
        )
    }

    fn request(method: &str, path: &str, host: &str, origin: Option<&str>) -> Request<Body> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        request.body(Body::empty()).unwrap()
    }

    fn refused(origins: &Origins, request: &Request<Body>) -> bool {
        origins
            .answer(request)
            .is_some_and(|answer| answer.status() == StatusCode::FORBIDDEN)
    }

    #[test]
    fn only_hosts_of_this_machine_are_served() {
        let default = Origins::new(&[], &[]);
        for good in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:1",
            "[::1]:5000",
            "192.168.0.7:5000",
            "10.1.2.3",
        ] {
            assert!(
                !refused(&default, &request("GET", "/x", good, None)),
                "{good}"
            );
        }
        for bad in [
            "evil.example",
            "localhost.evil.example:5000",
            "8.8.8.8",
            "127.0.0.1.nip.io",
            "10.evil.example",
            "mlflow.example.org",
        ] {
            assert!(refused(&default, &request("GET", "/x", bad, None)), "{bad}");
            assert!(
                !refused(&default, &request("GET", "/health", bad, None)),
                "{bad}"
            );
        }
    }

    #[test]
    fn names_that_were_given_are_served() {
        for good in [
            "localhost:1",
            "MLFLOW.example.org:443",
            "a.b.internal",
            "a.internal:80",
        ] {
            assert!(
                !refused(&origins(), &request("GET", "/x", good, None)),
                "{good}"
            );
        }
        for bad in ["10.1.2.3", "internal", "mlflow.example.org.evil.example"] {
            assert!(
                refused(&origins(), &request("GET", "/x", bad, None)),
                "{bad}"
            );
        }
        let any = Origins::new(&["*".to_owned()], &[]);
        assert!(!refused(&any, &request("GET", "/x", "evil.example", None)));
    }

    #[test]
    fn foreign_pages_change_nothing() {
        let host = "localhost:5000";
        let origins = origins();
        for (method, origin, bad) in [
            ("POST", "https://evil.example", true),
            ("DELETE", "null", true),
            ("POST", "http://localhost.evil.example", true),
            ("GET", "https://evil.example", false),
            ("POST", "http://localhost:3000", false),
            ("PATCH", "https://dash.example.org", false),
        ] {
            let request = request(method, "/x", host, Some(origin));
            assert_eq!(refused(&origins, &request), bad, "{method} {origin}");
        }
        let own = request("POST", "/x", "a.internal", Some("https://a.internal"));
        assert!(!refused(&origins, &own));
    }

    #[test]
    fn a_preflight_grants_this_machines_pages_only() {
        let ask = |origins: &Origins, origin: &str| {
            let mut request = request("OPTIONS", "/api/x", "localhost:5000", Some(origin));
            request.headers_mut().insert(
                ACCESS_CONTROL_REQUEST_METHOD,
                HeaderValue::from_static("POST"),
            );
            let answer = origins.answer(&request).unwrap();
            assert_eq!(answer.status(), StatusCode::NO_CONTENT);
            let granted = answer.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned();
            let credentials = answer
                .headers()
                .contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS);
            (
                granted.map(|value| value.to_str().unwrap().to_owned()),
                credentials,
            )
        };
        let local = "http://localhost:3000";
        assert_eq!(ask(&origins(), local), (Some(local.to_owned()), true));
        assert_eq!(ask(&origins(), "https://evil.example"), (None, false));
        let any = Origins::new(&[], &["*".to_owned()]);
        assert_eq!(
            ask(&any, "https://evil.example"),
            (Some("*".to_owned()), false)
        );
    }
}
