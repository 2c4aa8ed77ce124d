//! Points as bytes.
//!
//! A *segment* is points of one metric: a format byte, how many, then for each the difference of its
//! timestamp and of its step to the point before (zigzag varints) and the value (8 bytes, little
//! endian; NaN in one form). Segments stand one after the other in a chunk, so a chunk grows by
//! appending. An *entry* is what one request logged: a format byte, how many metrics, and for each
//! its key and a segment.
//!
//! Points are a set: what is logged twice is stored twice at worst, and [`sorted`] reads it once.

use std::cmp::Ordering;

use mlflow_api::types::Metric;

const FORMAT: u8 = 1;
/// Values are stored within this: what stands for an infinity is the largest double.
const LARGEST: f64 = f64::MAX;

/// A point of a metric.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Point {
    /// ms since the epoch.
    pub(in crate::store) timestamp: i64,
    pub(in crate::store) step: i64,
    /// Finite, or NaN.
    pub(in crate::store) value: f64,
}

impl Point {
    /// A point as it is stored.
    pub(in crate::store) fn new(timestamp: i64, step: i64, value: f64) -> Self {
        let value = if value.is_nan() {
            f64::NAN
        } else {
            // Zero has one form only, or two equal points would be two.
            value.clamp(-LARGEST, LARGEST) + 0.0
        };
        Self {
            timestamp,
            step,
            value,
        }
    }

    /// The value where neither database could compare NaN, and 1 if it is.
    pub(super) fn comparable(self) -> (f64, i64) {
        if self.value.is_nan() {
            (0.0, 1)
        } else {
            (self.value, 0)
        }
    }

    /// The order of a history: NaN counts as 0, just after it.
    fn in_history(&self, other: &Self) -> Ordering {
        self.timestamp
            .cmp(&other.timestamp)
            .then(self.step.cmp(&other.step))
            .then(by_value(self, other))
    }

    /// Whether a search looks at this one rather than at `other`.
    pub(super) fn is_later(&self, other: &Self) -> bool {
        self.step
            .cmp(&other.step)
            .then(self.timestamp.cmp(&other.timestamp))
            .then(by_value(self, other))
            .is_gt()
    }
}

fn by_value(a: &Point, b: &Point) -> Ordering {
    let (x, x_nan) = a.comparable();
    let (y, y_nan) = b.comparable();
    x.total_cmp(&y).then(x_nan.cmp(&y_nan))
}

/// The points in the order of a history, each once.
pub(super) fn sorted(mut points: Vec<Point>) -> Vec<Point> {
    if !points.is_sorted_by(|a, b| a.in_history(b).is_lt()) {
        points.sort_by(Point::in_history);
        points.dedup_by(|a, b| a.in_history(b).is_eq());
    }
    points
}

/// Bytes that are not what was written: the database was changed by other means.
#[derive(Debug, thiserror::Error)]
#[error("the points of a metric can't be read: {0}")]
pub(super) struct Damaged(&'static str);

impl From<Damaged> for sqlx::Error {
    fn from(error: Damaged) -> Self {
        Self::Decode(Box::new(error))
    }
}

/// Appends points of one metric.
pub(super) fn push_segment(bytes: &mut Vec<u8>, points: impl ExactSizeIterator<Item = Point>) {
    bytes.push(FORMAT);
    push_varint(bytes, points.len() as u64);
    let (mut timestamp, mut step) = (0_i64, 0_i64);
    for point in points {
        push_varint(bytes, zigzag(point.timestamp.wrapping_sub(timestamp)));
        push_varint(bytes, zigzag(point.step.wrapping_sub(step)));
        bytes.extend_from_slice(&point.value.to_le_bytes());
        (timestamp, step) = (point.timestamp, point.step);
    }
}

/// Reads segments to the end.
pub(super) fn read_chunk(mut bytes: &[u8], points: &mut Vec<Point>) -> Result<(), Damaged> {
    while !bytes.is_empty() {
        read_segment(&mut bytes, points)?;
    }
    Ok(())
}

/// What one request logged.
pub(super) fn entry(metrics: &[Metric]) -> Vec<u8> {
    // Requests carry few keys or many points of one; sorting finds both cheaply.
    let mut order: Vec<&Metric> = metrics.iter().collect();
    order.sort_by(|a, b| a.key.cmp(&b.key));
    let mut bytes = Vec::with_capacity(16 + metrics.len() * 16);
    bytes.push(FORMAT);
    let keys = order.chunk_by(|a, b| a.key == b.key);
    push_varint(&mut bytes, keys.clone().count() as u64);
    for of_key in keys {
        let key = &of_key[0].key;
        push_varint(&mut bytes, key.len() as u64);
        bytes.extend_from_slice(key.as_bytes());
        let points = of_key
            .iter()
            .map(|metric| Point::new(metric.timestamp, metric.step, metric.value));
        push_segment(&mut bytes, points);
    }
    bytes
}

/// Reads an entry; `wanted` says of which keys the points are of interest.
pub(super) fn read_entry(
    mut bytes: &[u8],
    mut wanted: impl FnMut(&str) -> bool,
    mut each: impl FnMut(&str, &[Point]),
) -> Result<(), Damaged> {
    let bytes = &mut bytes;
    read_format(bytes)?;
    let keys = read_varint(bytes)?;
    let mut points = Vec::new();
    for _ in 0..keys {
        let length = usize::try_from(read_varint(bytes)?).map_err(|_| Damaged("a key"))?;
        let (key, rest) = bytes.split_at_checked(length).ok_or(Damaged("a key"))?;
        *bytes = rest;
        let key = std::str::from_utf8(key).map_err(|_| Damaged("a key"))?;
        points.clear();
        read_segment(bytes, &mut points)?;
        if wanted(key) {
            each(key, &points);
        }
    }
    Ok(())
}

fn read_format(bytes: &mut &[u8]) -> Result<(), Damaged> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => {
            *bytes = rest;
            Ok(())
        }
        Some(_) => Err(Damaged("a newer program wrote them")),
        None => Err(Damaged("they break off")),
    }
}

fn read_segment(bytes: &mut &[u8], points: &mut Vec<Point>) -> Result<(), Damaged> {
    read_format(bytes)?;
    let count = usize::try_from(read_varint(bytes)?).map_err(|_| Damaged("their number"))?;
    // A point takes ten bytes at least: a damaged number must not take memory.
    points.reserve(count.min(bytes.len() / 10 + 1));
    let (mut timestamp, mut step) = (0_i64, 0_i64);
    for _ in 0..count {
        timestamp = timestamp.wrapping_add(unzigzag(read_varint(bytes)?));
        step = step.wrapping_add(unzigzag(read_varint(bytes)?));
        let (value, rest) = bytes.split_first_chunk().ok_or(Damaged("they break off"))?;
        *bytes = rest;
        points.push(Point {
            timestamp,
            step,
            value: f64::from_le_bytes(*value),
        });
    }
    Ok(())
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Result<u64, Damaged> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Damaged("they break off"))?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Damaged("a number"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bits(points: &[Point]) -> Vec<(i64, i64, u64)> {
        points
            .iter()
            .map(|p| (p.timestamp, p.step, p.value.to_bits()))
            .collect()
    }

    #[test]
    fn values_are_kept_in_one_form() {
        let value = |value| Point::new(0, 0, value).value;
        assert_eq!(value(f64::INFINITY), f64::MAX);
        assert_eq!(value(f64::NEG_INFINITY), f64::MIN);
        assert_eq!(value(-0.0).to_bits(), 0.0_f64.to_bits());
        assert_eq!(value(-f64::NAN).to_bits(), f64::NAN.to_bits());
    }

    #[test]
    fn equal_points_are_read_once_and_in_order() {
        let points = [
            (2, 0, 1.0),
            (1, 5, 2.0),
            (2, 0, 1.0),
            (1, 5, f64::NAN),
            (1, 5, -1.0),
        ]
        .map(|(t, s, v)| Point::new(t, s, v));
        let seen: Vec<_> = sorted(points.to_vec())
            .iter()
            .map(|p| format!("{} {} {}", p.timestamp, p.step, p.value))
            .collect();
        assert_eq!(seen, ["1 5 -1", "1 5 NaN", "1 5 2", "2 0 1"]);
    }

    #[test]
    fn the_later_point_has_the_greater_step() {
        let older = Point::new(9, 1, 5.0);
        assert!(Point::new(1, 2, 0.0).is_later(&older));
        assert!(Point::new(10, 1, 0.0).is_later(&older));
        assert!(Point::new(9, 1, 5.5).is_later(&older));
        assert!(!Point::new(9, 1, f64::NAN).is_later(&older));
        assert!(!older.is_later(&older));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            points in prop::collection::vec((any::<i64>(), any::<i64>(), any::<f64>()), 0..50),
            keys in prop::collection::vec("[a-c]|é/ x", 50),
        ) {
            let metrics: Vec<_> = points
                .iter()
                .zip(keys)
                .map(|(&(t, s, v), key)| Metric::new(key, v, t, s))
                .collect();
            let mut read = 0;
            read_entry(&entry(&metrics), |_| true, |key, found| {
                let mut chunk = Vec::new();
                push_segment(&mut chunk, found.iter().copied());
                push_segment(&mut chunk, found.iter().copied());
                let mut twice = Vec::new();
                read_chunk(&chunk, &mut twice).unwrap();
                assert_eq!(bits(&twice), bits(&[found, found].concat()));
                let logged: Vec<_> = metrics
                    .iter()
                    .filter(|m| m.key == key)
                    .map(|m| Point::new(m.timestamp, m.step, m.value))
                    .collect();
                assert_eq!(bits(found), bits(&logged));
                read += found.len();
            })
            .unwrap();
            prop_assert_eq!(read, metrics.len());
        }

        #[test]
        fn damage_is_noticed_or_harmless(
            cut in 0_usize..200, flip in 0_usize..200, bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let metrics: Vec<_> = (0..9).map(|i| Metric::new("key", 0.5, i, i)).collect();
            let mut entry = entry(&metrics);
            let at = flip % entry.len();
            entry[at] ^= 0x40;
            entry.truncate(cut.max(1));
            read_entry(&entry, |_| true, |_, _| ()).ok();
            read_entry(&bytes, |_| true, |_, _| ()).ok();
            read_chunk(&bytes, &mut Vec::new()).ok();
        }
    }
}
