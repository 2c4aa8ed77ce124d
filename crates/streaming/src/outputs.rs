//! What is to be said.

use std::ops::Range;

use market::Interval;
use serde::Serialize;

use crate::record::{Reason, Record};

/// Where an output belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// Closed candles of this length.
    Candles(Interval),
    /// Feature rows with their scores.
    Features,
    /// Alerts.
    Alerts,
    /// Verdicts on drift.
    Drift,
    /// Records that came too late, as they were.
    Late,
    /// Records that can't be taken, as they were.
    DeadLetters,
}

/// Something to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output<'a> {
    /// Where it belongs.
    pub channel: Channel,
    /// Its key: the symbol (of drift: the model's name), or what the record had.
    pub key: Option<&'a [u8]>,
    /// Its value: JSON, or what the record had.
    pub value: Option<&'a [u8]>,
    /// Of a record that is passed on: its offset.
    pub offset: Option<i64>,
    /// Of a record that is refused: a word for why, and the reason itself.
    pub reason: Option<(&'static str, &'a str)>,
}

/// What is to be said, in one piece of memory that is used again.
#[derive(Debug, Default)]
pub struct Outputs {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    channel: Channel,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    offset: Option<i64>,
    reason: Option<(&'static str, Range<usize>)>,
}

impl Outputs {
    /// Everything, in order.
    pub fn iter(&self) -> impl Iterator<Item = Output<'_>> {
        let piece = |range: &Range<usize>| &self.bytes[range.clone()];
        self.entries.iter().map(move |entry| Output {
            channel: entry.channel,
            key: entry.key.as_ref().map(piece),
            value: entry.value.as_ref().map(piece),
            offset: entry.offset,
            reason: entry
                .reason
                .as_ref()
                .map(|(word, text)| (*word, std::str::from_utf8(piece(text)).unwrap_or_default())),
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    pub(crate) fn json(&mut self, channel: Channel, key: &str, value: &impl Serialize) {
        let key = self.keep(key.as_bytes());
        let start = self.bytes.len();
        // Writing to memory doesn't fail, and neither does plain data with string keys.
        serde_json::to_writer(&mut self.bytes, value).ok();
        self.entries.push(Entry {
            channel,
            key: Some(key),
            value: Some(start..self.bytes.len()),
            offset: None,
            reason: None,
        });
    }

    pub(crate) fn record(
        &mut self,
        channel: Channel,
        record: &Record<'_>,
        reason: Option<&Reason>,
    ) {
        let entry = Entry {
            channel,
            key: record.key.map(|key| self.keep(key)),
            value: record.value.map(|value| self.keep(value)),
            offset: Some(record.offset),
            reason: reason.map(|reason| (reason.word(), self.keep(reason.to_string().as_bytes()))),
        };
        self.entries.push(entry);
    }
}
