//! Against pages in a browser that talk to a server on the same machine: the `Host` must be one of
//! this machine's (DNS rebinding), and a change must not come from a foreign page (CSRF).

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::{HOST, HeaderValue, ORIGIN, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::Registry;

pub(super) async fn guard(
    State(registry): State<Registry>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(refusal) = refusal(&request, registry.allowed_hosts()) {
        return (StatusCode::FORBIDDEN, refusal).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    response
}

fn refusal(request: &Request, allowed: &[String]) -> Option<&'static str> {
    let header = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let exempt = matches!(request.uri().path(), "/health" | "/version");
    let host = header(HOST).or_else(|| request.uri().authority().map(|a| a.as_str()));
    if !exempt && !host.is_some_and(|host| is_allowed(host, allowed)) {
        return Some("Invalid Host header - possible DNS rebinding attack detected");
    }
    let changes = matches!(
        *request.method(),
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE
    );
    let origin = header(ORIGIN)?;
    let origin_host = origin.split_once("://").map(|(_, host)| host);
    let own = origin_host.is_some_and(|origin| Some(origin) == host || is_loopback(origin));
    (changes && !own).then_some("Cross-origin request blocked")
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

/// This machine, a private address (which a rebound name never shows), or a name that was allowed.
fn is_allowed(host: &str, allowed: &[String]) -> bool {
    let name = name_of(host);
    let private = match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_private() || address.is_unspecified(),
        Ok(IpAddr::V6(address)) => address.is_unique_local(),
        Err(_) => false,
    };
    is_loopback(host)
        || private
        || allowed.iter().any(|allowed| {
            allowed == "*"
                || allowed.eq_ignore_ascii_case(host)
                || allowed.eq_ignore_ascii_case(name)
        })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn refused(method: &str, path: &str, host: &str, origin: Option<&str>) -> bool {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        let request = request.body(Body::empty()).unwrap();
        refusal(&request, &["mlflow.example.org".to_owned()]).is_some()
    }

    #[test]
    fn only_hosts_of_this_machine_are_served() {
        for good in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:1",
            "[::1]:5000",
            "192.168.0.7:5000",
            "10.1.2.3",
            "mlflow.example.org",
            "MLFLOW.example.org:443",
        ] {
            assert!(!refused("GET", "/x", good, None), "{good}");
        }
        for bad in [
            "evil.example",
            "localhost.evil.example:5000",
            "8.8.8.8",
            "127.0.0.1.nip.io",
        ] {
            assert!(refused("GET", "/x", bad, None), "{bad}");
            assert!(!refused("GET", "/health", bad, None), "{bad}");
        }
    }

    #[test]
    fn foreign_pages_change_nothing() {
        let host = "localhost:5000";
        assert!(refused("POST", "/x", host, Some("https://evil.example")));
        assert!(refused("DELETE", "/x", host, Some("null")));
        assert!(!refused("GET", "/x", host, Some("https://evil.example")));
        assert!(!refused("POST", "/x", host, Some("http://localhost:3000")));
        let public = "mlflow.example.org";
        assert!(!refused(
            "POST",
            "/x",
            public,
            Some("https://mlflow.example.org")
        ));
    }
}
