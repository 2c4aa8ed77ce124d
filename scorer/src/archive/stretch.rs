//! The rows of one partition between two commits.

use std::time::{Duration, Instant};

use super::row::Row;

/// What is collected of a partition.
#[derive(Debug)]
pub(super) struct Collected {
    /// The offset of its first record: what is committed.
    pub(super) start: i64,
    /// The offset after the last record that was read.
    pub(super) next: i64,
    /// Where it ends, once that is committed beside the offset: then it must be written exactly so.
    pub(super) until: Option<i64>,
    pub(super) rows: Vec<Row>,
    /// When its first row came.
    pub(super) since: Instant,
    /// Writing has failed so often, and is tried again at this time.
    pub(super) failures: u32,
    pub(super) again_at: Option<Instant>,
}

impl Collected {
    /// Nothing yet, from a committed offset on.
    pub(super) fn from(start: i64, until: Option<i64>) -> Self {
        Self {
            start,
            next: start,
            until: until.filter(|until| *until > start),
            rows: Vec::new(),
            since: Instant::now(),
            failures: 0,
            again_at: None,
        }
    }

    /// Whether nothing more may be added to it.
    pub(super) fn is_whole(&self) -> bool {
        self.until.is_some_and(|until| self.next >= until)
    }

    /// Whether it should be ended now, by its age.
    pub(super) fn is_old(&self, every: Duration) -> bool {
        self.until.is_none() && self.next > self.start && self.since.elapsed() >= every
    }

    /// Takes the record at `offset`; none where it is no row.
    pub(super) fn push(&mut self, offset: i64, row: Option<Row>) {
        if self.next == self.start {
            self.since = Instant::now();
        }
        self.next = offset + 1;
        self.rows.extend(row);
    }

    /// Waits longer after each failure, a minute at most.
    pub(super) fn failed(&mut self) {
        self.failures += 1;
        let pause = Duration::from_secs(1 << self.failures.min(6)).min(Duration::from_secs(60));
        self.again_at = Some(Instant::now() + pause);
    }

    pub(super) fn may_be_tried(&self) -> bool {
        self.again_at.is_none_or(|at| Instant::now() >= at)
    }
}

const METADATA: &str = "foreshock-archive-1 until=";

/// What is committed beside the offset at which a stretch begins.
pub(super) fn metadata(until: Option<i64>) -> String {
    let until = until.map(|until| until.to_string());
    format!("{METADATA}{}", until.unwrap_or_default())
}

/// Where the stretch ends that such a text speaks of.
pub(super) fn until_of(metadata: &str) -> Result<Option<i64>, String> {
    match metadata.strip_prefix(METADATA) {
        Some("") => Ok(None),
        Some(until) => until.parse().map(Some).map_err(|_| metadata.to_owned()),
        // Somebody set the group's offset by hand.
        None if metadata.is_empty() => Ok(None),
        None => Err(metadata.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_read_back() {
        for until in [None, Some(0), Some(98_765_432_101)] {
            assert_eq!(until_of(&metadata(until)), Ok(until));
        }
        assert_eq!(until_of(""), Ok(None));
        assert!(until_of("foreshock-1 state=3").is_err());
    }

    #[test]
    fn a_stretch_ends_where_it_was_said_to() {
        let mut collected = Collected::from(5, Some(9));
        for offset in [5, 7] {
            collected.push(offset, None);
            assert!(!collected.is_whole());
        }
        collected.push(8, None);
        assert!(collected.is_whole());
        assert!(!Collected::from(9, Some(9)).is_whole());
    }
}
