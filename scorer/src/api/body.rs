//! Bodies of requests: bounded, and read to the end where that keeps the answer from being lost.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use super::error::Refusal;

/// How much of a body that is refused is read, in multiples of what is allowed, and for how long: a caller that still
/// sends would not see the answer.
const DRAINED: usize = 4;
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads a body of at most so many bytes.
///
/// # Errors
/// It is larger, or breaks off.
pub(super) async fn read_body(mut body: Body, most: usize) -> Result<Bytes, Refusal> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Refusal::unreadable(format!("the body breaks off: {error}")))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if read.len() + data.len() > most {
            drop(read);
            drain(body, most).await;
            return Err(Refusal::too_large(most));
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

/// Reads what is left of a body that nobody wants, within bounds.
pub(super) async fn drain(mut body: Body, most: usize) {
    let rest = async {
        let mut left = most.saturating_mul(DRAINED);
        while let Some(Ok(frame)) = body.frame().await {
            let n = frame.data_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(n);
            if left == 0 {
                return;
            }
        }
    };
    // Whoever takes longer loses the answer.
    tokio::time::timeout(PATIENCE, rest).await.ok();
}

/// The media type of a body without its parameters, where it is said; only UTF-8 is read.
///
/// # Errors
/// Parameters that are not understood.
pub(super) fn media_type(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(None);
    };
    let refuse =
        |what: &str| Refusal::media_type(format!("{what} is not understood in Content-Type"));
    let text = value.to_str().map_err(|_| refuse("what is no ASCII"))?;
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    for parameter in parts.filter(|part| !part.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let is_utf8 = name.eq_ignore_ascii_case("charset")
            && value.trim_matches('"').eq_ignore_ascii_case("utf-8");
        if !is_utf8 {
            return Err(refuse(&format!("`{parameter}`")));
        }
    }
    Ok(Some(media_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_told_apart() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, text.parse().unwrap());
            media_type(&headers)
                .map(|found| found.map(str::to_owned))
                .map_err(|_| ())
        };
        assert_eq!(of("text/csv"), Ok(Some("text/csv".to_owned())));
        assert_eq!(
            of("text/csv; charset=UTF-8"),
            Ok(Some("text/csv".to_owned()))
        );
        assert_eq!(of("text/csv; charset=latin-1"), Err(()));
        assert_eq!(of("application/json; format=pandas"), Err(()));
        assert_eq!(media_type(&HeaderMap::new()).unwrap(), None);
    }
}
