//! The `Range` header.

use crate::artifacts::ByteRange;

/// The one range of bytes that a header names. What is malformed, names another unit or several
/// ranges means the whole, as RFC 9110 allows.
pub(super) fn parse(header: &str) -> Option<ByteRange> {
    let (unit, range) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", count) => Some(ByteRange::Last(number(count)?)),
        (first, "") => Some(ByteRange::From(number(first)?)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(ByteRange::Between(first, last))
        }
    }
}

/// Digits only: `parse` would take a sign, too. What is too large for any file is the largest.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_range_is_read_and_the_rest_is_the_whole() {
        for (header, expected) in [
            ("bytes=0-0", Some(ByteRange::Between(0, 0))),
            ("bytes=2-5", Some(ByteRange::Between(2, 5))),
            ("Bytes = 2-5 ", Some(ByteRange::Between(2, 5))),
            ("bytes=7-", Some(ByteRange::From(7))),
            ("bytes=-3", Some(ByteRange::Last(3))),
            (
                "bytes=5-99999999999999999999999",
                Some(ByteRange::Between(5, u64::MAX)),
            ),
            ("bytes=5-2", None),
            ("bytes=0-1,3-4", None),
            ("bytes=-", None),
            ("bytes=+1-2", None),
            ("bytes=a-b", None),
            ("items=0-1", None),
            ("bytes", None),
            ("", None),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_header_breaks_it(header in "(bytes=)?[-0-9, a-z]{0,40}", size in 0_u64..100) {
            if let Some(range) = parse(&header).and_then(|range| range.resolve(size)) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
