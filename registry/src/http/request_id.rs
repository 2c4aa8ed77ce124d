//! The id that a request has in its answer, in every line of the log, and in the audit log.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries it, both ways.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const LONGEST: usize = 128;

tokio::task_local! {
    static CURRENT: HeaderValue;
}

/// A prefix that is another in each process, so that replicas never share an id.
static PREFIX: LazyLock<u64> = LazyLock::new(|| {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low.rotate_left(7)
});
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The id that the client gave, if it is a sane one, else a new one.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.get(X_REQUEST_ID) {
        Some(given) if is_sane(given.as_bytes()) => given.clone(),
        _ => new(),
    }
}

/// Runs `future` as the work of a request.
pub(super) async fn scope<F: Future>(id: HeaderValue, future: F) -> F::Output {
    CURRENT.scope(id, future).await
}

/// Gives the id of the request that this task works on to `f`; nothing happens outside of one.
pub(crate) fn current<T>(f: impl FnOnce(&str) -> T) -> Option<T> {
    CURRENT
        .try_with(|id| id.to_str().ok().map(f))
        .ok()
        .flatten()
}

/// Something that can't forge a line of the log nor fill it.
fn is_sane(id: &[u8]) -> bool {
    !id.is_empty()
        && id.len() <= LONGEST
        && id
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
}

fn new() -> HeaderValue {
    let mut text = [0_u8; 24];
    hex(&mut text[..12], *PREFIX);
    hex(&mut text[12..], NEXT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

/// Writes the lowest digits of `number`, as many as fit.
fn hex(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_over_or_made() {
        let mut headers = HeaderMap::new();
        let (a, b) = (of(&headers), of(&headers));
        assert!(a != b && a.len() == 24, "{a:?} {b:?}");
        headers.insert(X_REQUEST_ID, HeaderValue::from_static("trace-7f.3"));
        assert_eq!(of(&headers), "trace-7f.3");
        for bad in ["", "a b", "x\ty", "<script>", &"a".repeat(129)] {
            headers.insert(X_REQUEST_ID, HeaderValue::from_str(bad).unwrap());
            assert_ne!(of(&headers), bad);
        }
    }
}
