//! What is read of an artifact.

use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;
use futures::stream::BoxStream;

use super::ArtifactError;

/// What is known of an artifact besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactInfo {
    /// Its size in bytes.
    pub size: u64,
    /// A quoted text that changes when the artifact does.
    pub e_tag: Option<String>,
    /// When it was written.
    pub modified: Option<SystemTime>,
}

/// A part of an artifact, as HTTP names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// From an offset to the end.
    From(u64),
    /// From an offset to another, which belongs to it.
    Between(u64, u64),
    /// That many bytes at the end.
    Last(u64),
}

impl ByteRange {
    /// The bytes that this means in an artifact of `size` bytes; `None` when it has none of them.
    #[must_use]
    pub fn resolve(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first) => first..size,
            Self::Between(first, last) => first..last.saturating_add(1).min(size),
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

/// What a reader wants of an artifact: all of it by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// A part only.
    pub range: Option<ByteRange>,
    /// The part only where this is still the artifact's ETag, or its date as HTTP writes it; else
    /// all of it.
    pub if_range: Option<String>,
}

impl Wanted {
    /// The bytes that are wanted of an artifact.
    pub(super) fn resolve(&self, info: &ArtifactInfo) -> Result<Range<u64>, ArtifactError> {
        match self.range {
            Some(range) if self.applies(info) => range
                .resolve(info.size)
                .ok_or(ArtifactError::Range(info.size)),
            _ => Ok(0..info.size),
        }
    }

    /// Whether the range is meant for this state of the artifact.
    pub(super) fn applies(&self, info: &ArtifactInfo) -> bool {
        self.if_range.as_ref().is_none_or(|wanted| {
            let date = || info.modified.map(httpdate::fmt_http_date);
            // A weak ETag says nothing of bytes.
            (Some(wanted) == info.e_tag.as_ref() && !wanted.starts_with("W/"))
                || Some(wanted) == date().as_ref()
        })
    }
}

/// An artifact that is being read.
pub struct Download {
    /// What is known of it.
    pub info: ArtifactInfo,
    /// The bytes of it that `body` holds.
    pub range: Range<u64>,
    /// The bytes; they come in pieces, and no faster than they are taken.
    pub body: BoxStream<'static, Result<Bytes, ArtifactError>>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download")
            .field("info", &self.info)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_inside() {
        for (range, size, expected) in [
            (ByteRange::From(0), 10, Some(0..10)),
            (ByteRange::From(9), 10, Some(9..10)),
            (ByteRange::From(10), 10, None),
            (ByteRange::Between(2, 4), 10, Some(2..5)),
            (ByteRange::Between(2, u64::MAX), 10, Some(2..10)),
            (ByteRange::Between(10, 11), 10, None),
            (ByteRange::Last(3), 10, Some(7..10)),
            (ByteRange::Last(30), 10, Some(0..10)),
            (ByteRange::Last(0), 10, None),
            (ByteRange::From(0), 0, None),
        ] {
            assert_eq!(range.resolve(size), expected, "{range:?} of {size}");
        }
    }

    #[test]
    fn a_range_of_another_state_is_not_taken() {
        let info = ArtifactInfo {
            size: 10,
            e_tag: Some("\"a\"".to_owned()),
            modified: Some(SystemTime::UNIX_EPOCH),
        };
        let wanted = |if_range: &str| Wanted {
            range: Some(ByteRange::From(4)),
            if_range: Some(if_range.to_owned()),
        };
        assert_eq!(wanted("\"a\"").resolve(&info).unwrap(), 4..10);
        assert_eq!(
            wanted("Thu, 01 Jan 1970 00:00:00 GMT")
                .resolve(&info)
                .unwrap(),
            4..10
        );
        assert_eq!(wanted("\"b\"").resolve(&info).unwrap(), 0..10);
        assert_eq!(wanted("W/\"a\"").resolve(&info).unwrap(), 0..10);
    }
}
