//! Where a replay stands: in the topic itself.
//!
//! Every record of a replay has a header with the replay's id, made from the files' content and
//! from what is read of them, and with the record's place in the replay. A partition's records are
//! written in order, each once, so the last place that a partition holds says what it lacks,
//! however the process that wrote it ended. No file beside the topic can disagree with it.

use anyhow::Result;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use sha2::{Digest, Sha256};

use crate::kafka::{Found, KafkaSettings, Tail, read_tail};

/// The header's name.
pub const HEADER: &str = "feed-replay";

/// How far back a partition is searched for the end of a replay, in records.
const AT_MOST: i64 = 10_000_000;

/// Which replay a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayId([u8; 8]);

impl ReplayId {
    /// The id of a replay: of the data's fingerprint and of what is read of them.
    pub fn new(fingerprint: &str, selection: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [fingerprint, selection] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut id = [0; 8];
        id.copy_from_slice(&hash.finalize()[..8]);
        Self(id)
    }
}

/// A record's place in a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which replay.
    pub replay: ReplayId,
    /// The place, from 0 on.
    pub place: u64,
}

impl Position {
    /// The header's value.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.replay.0);
        bytes[8..].copy_from_slice(&self.place.to_be_bytes());
        bytes
    }

    /// Reads a header's value back.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (replay, place) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            replay: ReplayId(*replay),
            place: u64::from_be_bytes(place.try_into().ok()?),
        })
    }

    fn of(message: &BorrowedMessage<'_>) -> Option<Self> {
        let headers = message.headers()?;
        let header = headers.iter().find(|header| header.key == HEADER)?;
        Self::from_bytes(header.value?)
    }
}

/// For each partition, the first place that it may lack.
///
/// # Errors
/// When the topic can't be read.
pub fn resume_positions(
    settings: &KafkaSettings,
    topic: &Found,
    replay: ReplayId,
) -> Result<Vec<u64>> {
    let n_partitions = usize::try_from(topic.partitions).unwrap_or(0);
    let next = std::cell::RefCell::new(vec![0_u64; n_partitions]);
    let slot = |partition: i32| usize::try_from(partition).unwrap_or(0);
    let complete = read_tail(
        settings,
        topic,
        Tail { at_most: AT_MOST },
        |partition, message| {
            if let Some(position) = Position::of(message).filter(|found| found.replay == replay) {
                let mut next = next.borrow_mut();
                let next = &mut next[slot(partition)];
                *next = (*next).max(position.place + 1);
            }
        },
        |partition| next.borrow()[slot(partition)] > 0,
    )?;
    if complete.contains(&false) {
        tracing::warn!(
            topic = topic.name,
            "only the last {AT_MOST} records of each partition were searched for this replay"
        );
    }
    Ok(next.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back() {
        let replay = ReplayId::new("a", "b");
        assert_ne!(replay, ReplayId::new("ab", ""));
        let position = Position { replay, place: 77 };
        assert_eq!(Position::from_bytes(&position.to_bytes()), Some(position));
        assert_eq!(Position::from_bytes(&[0; 15]), None);
        assert_eq!(Position::from_bytes(&[0; 17]), None);
    }
}
