//! One transaction: collecting records, judging what they closed, saying and committing it.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::message::Message as _;
use streaming::{Channel, Judge, Record};

use super::Worker;
use super::error::{Trouble, report};
use super::part::{Said, take_snapshot, tell_drift};
use crate::model::causes;
use crate::stream::transaction::{Progress, Transactions};

impl Worker {
    /// Takes records until there are enough of them or the time is over; whether there are any.
    pub(super) fn collect(&mut self) -> Result<bool, Trouble> {
        let kafka = &self.config.kafka;
        let (interval, most) = (kafka.transaction_interval.0, kafka.transaction_records);
        let mut until = None;
        let mut n_records = 0;
        loop {
            // The first record starts the clock.
            let left = match until {
                None => Duration::from_millis(100),
                Some(until) => {
                    let now = Instant::now();
                    if now >= until || n_records >= most {
                        return Ok(true);
                    }
                    until - now
                }
            };
            match self.consumer.poll(left) {
                Some(Ok(message)) => {
                    let Some(part) = self.parts.get_mut(&message.partition()) else {
                        let what = "a record came of a partition that is not ours";
                        return Err(Trouble::Again(what.to_owned()));
                    };
                    until.get_or_insert_with(|| Instant::now() + interval);
                    n_records += 1;
                    let refused = part.pipeline.partition().counts().refused;
                    let record = Record {
                        offset: message.offset(),
                        key: message.key(),
                        value: message.payload(),
                    };
                    part.pipeline.push(&record, &mut part.outputs);
                    part.is_touched = true;
                    part.timestamp = message.timestamp().to_millis();
                    let is_refused = part.pipeline.partition().counts().refused > refused;
                    self.refused.push(is_refused);
                }
                Some(Err(error)) => report(error)?,
                None if until.is_none() => return Ok(false),
                None => {}
            }
            if self.consumer.context().has_changes() {
                return Ok(until.is_some());
            }
        }
    }

    /// Judges what was closed, says what is to be said, and commits it with how far was read.
    pub(super) fn commit(&mut self, judge: &dyn Judge) -> Result<(), Trouble> {
        let mut said = Said::default();
        let began = Instant::now();
        for part in self.parts.values_mut().filter(|part| part.is_touched) {
            let judged = part
                .pipeline
                .judge(judge, &mut part.outputs, |row| said.see(row));
            said.judged.add(judged);
        }
        self.telemetry.stage("score", began);

        let began = Instant::now();
        let transactions = match &mut self.transactions {
            Some(transactions) => transactions,
            none => none.insert(Transactions::new(
                &self.config,
                &self.names,
                &self.instance,
            )?),
        };
        let mut changed = Vec::new();
        for (partition, part) in self.parts.iter_mut().filter(|(_, part)| part.is_touched) {
            transactions.say(*partition, &part.outputs)?;
            let memory = part.pipeline.take_memory();
            if let Some(bytes) = memory.map_err(|error| Trouble::Again(causes(&error)))? {
                transactions.remember(*partition, &self.config.kafka.group, &bytes)?;
                changed.push(*partition);
            }
        }
        let places = transactions.settle(&changed)?;
        for (partition, place) in changed.iter().zip(places) {
            let part = self.parts.get_mut(partition);
            match (part, place) {
                (Some(part), Some(place)) => part.state = Some(place),
                _ => {
                    let what = format!("nobody told where the state of partition {partition} is");
                    return Err(Trouble::Again(what));
                }
            }
        }
        self.telemetry.stage("produce", began);

        let began = Instant::now();
        let progress: Vec<Progress> = self
            .parts
            .iter()
            .filter(|(_, part)| part.is_touched)
            .map(|(partition, part)| Progress {
                partition: *partition,
                next_offset: part.pipeline.partition().next_offset(),
                state: part.state,
            })
            .collect();
        let group = self
            .consumer
            .group_metadata()
            .ok_or_else(|| Trouble::Again("the group has no metadata".to_owned()))?;
        transactions.commit(&progress, &group)?;
        self.telemetry.stage("commit", began);
        self.committed(&said);
        Ok(())
    }

    /// What follows a commit: counting, telling, snapshots.
    fn committed(&mut self, said: &Said) {
        said.tell(&self.telemetry);
        let now = Instant::now();
        let every = self.config.state.every.0;
        for (partition, part) in self.parts.iter_mut().filter(|(_, part)| part.is_touched) {
            part.is_touched = false;
            let counts = part.pipeline.partition().counts();
            self.telemetry.took(*partition, part.counted, counts);
            part.counted = counts;
            let n_symbols = part.pipeline.partition().n_symbols();
            self.telemetry.knows(*partition, n_symbols);
            if let Some(timestamp) = part.timestamp {
                self.telemetry.done(timestamp);
            }
            for output in part.outputs.iter() {
                match output.channel {
                    Channel::DeadLetters => {
                        let word = output.reason.map_or("unknown", |(word, _)| word);
                        self.telemetry.rejected(word);
                    }
                    Channel::Drift => tell_drift(&output, &self.telemetry),
                    _ => {}
                }
            }
            part.show_drift(*partition, &self.telemetry);
            (self.listener)(&part.outputs);
            part.outputs.clear();
            if now >= part.snapshot_due {
                part.snapshot_due = now + every;
                take_snapshot(*partition, part, |partition, frozen| {
                    self.snapshots.offer(partition, frozen)
                });
            }
        }
    }
}
