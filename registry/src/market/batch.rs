//! What was read and is not durable yet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::store::{HistoryRows, Position};

/// How many rows are written at once, and how many bytes of records.
const ROWS: usize = 5_000;
const BYTES: usize = 8 * 1024 * 1024;
/// How long a row waits for more.
const LINGER: Duration = Duration::from_millis(200);

/// How far a partition was read.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// As the database has it.
    found: Option<i64>,
    /// As it will, if it is another.
    next: Option<i64>,
}

/// Rows, and the places of the partitions that they are from.
#[derive(Debug, Default)]
pub(super) struct Batch {
    places: BTreeMap<(String, i32), Place>,
    pub(super) rows: HistoryRows,
    bytes: usize,
    since: Option<Instant>,
}

impl Batch {
    /// A partition is this reader's from now on.
    pub(super) fn take_over(&mut self, topic: &str, partition: i32, found: Option<i64>) {
        let place = Place { found, next: None };
        self.places.insert((topic.to_owned(), partition), place);
    }

    /// A partition is this reader's no more; what was read of it is written by now, or lost to
    /// whoever reads it next.
    pub(super) fn give_up(&mut self, topic: &str, partition: i32) {
        self.places.remove(&(topic.to_owned(), partition));
    }

    /// Notes that a record was read; `false` where its partition is not this reader's.
    pub(super) fn advance(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        bytes: usize,
    ) -> bool {
        let Some(place) = self.places.get_mut(&(topic.to_owned(), partition)) else {
            return false;
        };
        place.next = Some(offset + 1);
        self.bytes += bytes;
        self.since.get_or_insert_with(Instant::now);
        true
    }

    /// Whether it is time to write.
    pub(super) fn is_due(&self) -> bool {
        self.rows.len() >= ROWS
            || self.bytes >= BYTES
            || self.since.is_some_and(|since| since.elapsed() >= LINGER)
    }

    /// What is to be written, if there is anything.
    pub(super) fn take(&mut self) -> Option<(Vec<Position>, HistoryRows)> {
        self.since = None;
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        let positions: Vec<Position> = self
            .places
            .iter()
            .filter_map(|((topic, partition), place)| {
                Some(Position {
                    topic: topic.clone(),
                    partition: *partition,
                    found: place.found,
                    next: place.next.filter(|next| Some(*next) != place.found)?,
                })
            })
            .collect();
        (!positions.is_empty()).then_some((positions, rows))
    }

    /// It was written up to there.
    pub(super) fn written(&mut self, positions: &[Position]) {
        for position in positions {
            let key = (position.topic.clone(), position.partition);
            if let Some(place) = self.places.get_mut(&key) {
                *place = Place {
                    found: Some(position.next),
                    next: None,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_go_on_from_what_was_written() {
        let mut batch = Batch::default();
        assert!(!batch.advance("t", 0, 5, 1));
        batch.take_over("t", 0, None);
        batch.take_over("t", 1, Some(3));
        assert!(batch.take().is_none());
        assert!(batch.advance("t", 0, 5, 1) && batch.advance("t", 0, 7, 1));
        let (positions, _) = batch.take().unwrap();
        assert_eq!(positions.len(), 1);
        assert_eq!((positions[0].found, positions[0].next), (None, 8));
        batch.written(&positions);
        assert!(batch.take().is_none());
        assert!(batch.advance("t", 0, 8, 1) && batch.advance("t", 1, 3, 1));
        batch.give_up("t", 1);
        let (positions, _) = batch.take().unwrap();
        assert_eq!((positions[0].found, positions[0].next), (Some(8), 9));
        assert_eq!(positions.len(), 1);
    }

    #[test]
    fn many_rows_or_many_bytes_are_due_at_once() {
        let mut batch = Batch::default();
        batch.take_over("t", 0, None);
        batch.advance("t", 0, 0, BYTES - 1);
        assert!(!batch.is_due());
        batch.advance("t", 0, 1, 1);
        assert!(batch.is_due());
    }
}
