//! Where each lane stands: its last id, in a compacted topic, in the same transaction as what it says.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::ledger::LaneKey;
use super::settings::StreamKind;
use crate::kafka::{Found, KafkaSettings, Producer, read_whole, session};

/// A lane's record; its key is `STREAM/SYMBOL`.
#[derive(Serialize, Deserialize)]
struct Position {
    symbol: String,
    stream: String,
    /// The last id that is in the topic, or in a gap record; of candles the number of the minute.
    last_id: u64,
}

/// Which process writes under a name; its key is `owner/NAME`.
#[derive(Serialize, Deserialize)]
struct Owner {
    session: String,
}

/// What the topic says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Standing {
    pub(super) last: BTreeMap<LaneKey, u64>,
    /// The session that began last under our name.
    pub(super) owner: Option<String>,
}

/// Somebody else goes on where we were.
#[derive(Debug, Error)]
#[error(
    "another feed has begun under the name `{0}` and goes on where this one was; feeds that are to run \
     beside each other need names (--instance) and symbols of their own"
)]
pub(super) struct Replaced(String);

/// The keys and values of one feed's positions.
#[derive(Debug, Clone)]
pub(super) struct Positions {
    symbols: Vec<Arc<str>>,
    instance: String,
    session: String,
}

impl Positions {
    pub(super) fn new(symbols: &[Arc<str>], instance: &str) -> Self {
        Self {
            symbols: symbols.to_vec(),
            instance: instance.to_owned(),
            session: session(),
        }
    }

    /// A lane's record.
    pub(super) fn of_lane(
        &self,
        (symbol, kind): LaneKey,
        last_id: u64,
    ) -> Result<(String, Vec<u8>)> {
        let symbol = self.symbols[symbol].to_string();
        let stream = kind.as_str().to_owned();
        let key = format!("{stream}/{symbol}");
        let position = Position {
            symbol,
            stream,
            last_id,
        };
        Ok((key, serde_json::to_vec(&position)?))
    }

    /// The record that says who we are.
    pub(super) fn of_owner(&self) -> Result<(String, Vec<u8>)> {
        let session = self.session.clone();
        let value = serde_json::to_vec(&Owner { session })?;
        Ok((self.owner_key(), value))
    }

    fn owner_key(&self) -> String {
        format!("owner/{}", self.instance)
    }

    /// # Errors
    /// Another process has begun under our name since we did.
    pub(super) fn check_owner(&self, standing: &Standing) -> Result<(), Replaced> {
        match &standing.owner {
            Some(owner) if *owner != self.session => Err(Replaced(self.instance.clone())),
            _ => Ok(()),
        }
    }

    /// Reads the topic.
    ///
    /// # Errors
    /// When it can't be read, or holds what no feed has written.
    pub(super) fn read(&self, kafka: &KafkaSettings, topic: &Found) -> Result<Standing> {
        let mut reading = Reading::of(self, topic);
        read_whole(kafka, topic, |message| reading.take(message))?;
        reading.finish()
    }

    /// Writes that it is us who writes from now on, and reads the topic; `None` if `is_given_up` said
    /// so before the brokers answered.
    ///
    /// # Errors
    /// As [`read`](Self::read), and when it can't be written.
    pub(super) fn sign(
        &self,
        producer: &Producer,
        kafka: &KafkaSettings,
        topic: &Found,
        is_given_up: impl Fn() -> bool,
    ) -> Result<Option<Standing>> {
        let mut reading = Reading::of(self, topic);
        let (key, value) = self.of_owner()?;
        let is_done = producer.sign(kafka, topic, (&key, &value), is_given_up, |message| {
            reading.take(message);
        })?;
        let standing = reading.finish()?;
        Ok(is_done.then_some(standing))
    }

    fn take(&self, key: &[u8], value: Option<&[u8]>, standing: &mut Standing) -> Result<()> {
        let key = std::str::from_utf8(key).context("its key is no text")?;
        let (kind, name) = key
            .split_once('/')
            .ok_or_else(|| anyhow!("its key `{key}` is none of a feed's"))?;
        if kind == "owner" {
            if name == self.instance {
                let owner = value.map(serde_json::from_slice::<Owner>).transpose();
                standing.owner = owner.context("read its value")?.map(|owner| owner.session);
            }
            return Ok(());
        }
        if kind == "replay" {
            return Ok(());
        }
        let kind = StreamKind::ALL.into_iter().find(|k| k.as_str() == kind);
        let kind = kind.ok_or_else(|| anyhow!("its key `{key}` is none of a feed's"))?;
        let Some(symbol) = self.symbols.iter().position(|symbol| **symbol == *name) else {
            return Ok(());
        };
        match value {
            Some(value) => {
                let position: Position = serde_json::from_slice(value).context("read its value")?;
                standing.last.insert((symbol, kind), position.last_id);
            }
            // Somebody took it away, so that the symbol begins anew.
            None => {
                standing.last.remove(&(symbol, kind));
            }
        }
        Ok(())
    }
}

/// The topic as far as it was read.
struct Reading<'a> {
    positions: &'a Positions,
    topic: &'a str,
    standing: Standing,
    failure: Option<anyhow::Error>,
}

impl<'a> Reading<'a> {
    fn of(positions: &'a Positions, topic: &'a Found) -> Self {
        Self {
            positions,
            topic: &topic.name,
            standing: Standing::default(),
            failure: None,
        }
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        let (key, value) = (message.key().unwrap_or_default(), message.payload());
        if let Err(error) = self.positions.take(key, value, &mut self.standing) {
            let place = format!("record {} of `{}`", message.offset(), self.topic);
            self.failure.get_or_insert(error.context(place));
        }
    }

    fn finish(self) -> Result<Standing> {
        match self.failure {
            Some(error) => Err(error.context("where symbols stand can't be told")),
            None => Ok(self.standing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_and_nothing_else_is_taken_for_one() {
        let symbols: Vec<Arc<str>> = vec!["A".into(), "B".into()];
        let ours = Positions::new(&symbols, "feed");
        let mut standing = Standing::default();
        let mut write = |(key, value): (String, Vec<u8>)| {
            ours.take(key.as_bytes(), Some(&value), &mut standing)
                .unwrap();
        };
        let (trade, candle) = ((1, StreamKind::Trade), (1, StreamKind::Kline1m));
        write(ours.of_lane(trade, 7).unwrap());
        write(ours.of_lane(candle, 9).unwrap());
        write(ours.of_lane(trade, 8).unwrap());
        write(ours.of_owner().unwrap());
        let mut other = Positions::new(&["C".into()], "other");
        other.session = "else".to_owned();
        write(other.of_lane((0, StreamKind::Trade), 5).unwrap());
        write(other.of_owner().unwrap());
        assert_eq!(standing.last, BTreeMap::from([(trade, 8), (candle, 9)]));
        ours.check_owner(&standing).unwrap();
        other.instance = "feed".to_owned();
        let (key, value) = other.of_owner().unwrap();
        ours.take(key.as_bytes(), Some(&value), &mut standing)
            .unwrap();
        let error = ours.check_owner(&standing).unwrap_err().to_string();
        assert!(error.contains("another feed has begun under the name `feed`"));
        ours.take(b"trade/B", None, &mut standing).unwrap();
        assert_eq!(standing.last, BTreeMap::from([(candle, 9)]));
        for (key, value) in [("BTCUSDT", "{}"), ("depth/B", "{}"), ("trade/B", "{}")] {
            assert!(
                ours.take(key.as_bytes(), Some(value.as_bytes()), &mut standing)
                    .is_err()
            );
        }
    }
}
