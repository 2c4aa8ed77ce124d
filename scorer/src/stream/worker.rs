//! The loop.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError as Rd;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use streaming::pipeline::{Judged, JudgedRow};
use streaming::{
    Alert, Channel, Judge, Outputs, PartitionCounts, Pipeline, Record, RestoreError, Settings,
    restore,
};
use terminal::interrupt::Interrupt;
use thiserror::Error;

use super::clients::{ANSWER, GroupContext, KafkaError, Names, Rebalance, consumer};
use super::partition_log::{LogError, PartitionLog, is_passing};
use super::snapshots::{SnapshotStore, SnapshotWriter};
use super::transaction::{Progress, TransactionError, Transactions};
use crate::config::{Config, Start};
use crate::model::{Current, causes};
use crate::telemetry::Telemetry;

/// Why the loop can't go on.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// Kafka refuses.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// Another scorer goes by the same name.
    #[error("{0}")]
    Fenced(String),
    /// A partition can't be restored.
    #[error("partition {partition} can't be restored")]
    Restore {
        /// Which one.
        partition: i32,
        /// Why.
        #[source]
        source: Box<RestoreError<LogError>>,
    },
    /// What is committed beside an offset isn't ours.
    #[error(
        "the group's offset of partition {partition} was committed by another program (`{metadata}`); give the scorer a `kafka.group` of its own"
    )]
    Foreign {
        /// Which one.
        partition: i32,
        /// What stands beside the offset.
        metadata: String,
    },
}

/// How the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Somebody asked it to.
    Stopped,
    /// Too many records can't be taken.
    Tripped {
        /// How many of the last records.
        refused: usize,
        /// How many the last records were.
        of: usize,
    },
}

/// A partition that is ours.
struct Part {
    pipeline: Pipeline,
    /// What it says in the transaction that is under way.
    outputs: Outputs,
    /// Whether it has records in it.
    is_touched: bool,
    /// Where its models' memory lies.
    state: Option<i64>,
    snapshot_due: Instant,
    snapshot_at: i64,
    /// Counts at the last commit.
    counted: PartitionCounts,
    /// The timestamp of the last record, ms since the epoch.
    timestamp: Option<i64>,
}

/// Collects, judges, says and commits, for ever.
pub struct Worker {
    config: Arc<Config>,
    settings: Arc<Settings>,
    names: Names,
    instance: String,
    current: Current,
    telemetry: Arc<Telemetry>,
    store: SnapshotStore,
    snapshots: SnapshotWriter,
    interrupt: Interrupt,
    consumer: BaseConsumer<GroupContext>,
    transactions: Option<Transactions>,
    parts: BTreeMap<i32, Part>,
    refused: Refused,
    listener: Listener,
    lag_due: Instant,
    /// What the group said and was not acted on yet.
    changes: VecDeque<Rebalance>,
}

/// Hears what was said, once it is committed.
pub type Listener = Box<dyn FnMut(&Outputs) + Send>;

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("instance", &self.instance)
            .field("partitions", &self.parts.keys())
            .finish_non_exhaustive()
    }
}

/// Which of the last records could not be taken.
#[derive(Debug)]
struct Refused {
    last: VecDeque<bool>,
    window: usize,
    n_refused: usize,
    max_share: f64,
}

impl Refused {
    fn new(window: usize, max_share: f64) -> Self {
        Self {
            last: VecDeque::new(),
            window,
            n_refused: 0,
            max_share,
        }
    }

    fn push(&mut self, is_refused: bool) {
        if self.last.len() >= self.window {
            self.n_refused -= usize::from(self.last.pop_front() == Some(true));
        }
        self.last.push_back(is_refused);
        self.n_refused += usize::from(is_refused);
    }

    fn is_too_much(&self) -> bool {
        self.last.len() >= self.window
            && self.n_refused as f64 > self.max_share * self.window as f64
    }
}

/// What became of a turn of the loop that did not go well.
enum Trouble {
    /// Everything is restored from what was committed, and it goes on.
    Again(String),
    /// It can't go on.
    Over(WorkerError),
}

impl From<TransactionError> for Trouble {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Fenced { .. } => Self::Over(WorkerError::Fenced(error.to_string())),
            TransactionError::Kafka(error) => Self::Over(error.into()),
            TransactionError::GivenUp { .. } | TransactionError::Undelivered(_) => {
                Self::Again(causes(&error))
            }
        }
    }
}

impl From<WorkerError> for Trouble {
    fn from(error: WorkerError) -> Self {
        Self::Over(error)
    }
}

/// Kafka did not do what it was asked to: it may the next time.
fn again(what: &str) -> impl FnOnce(Rd) -> Trouble {
    move |error| Trouble::Again(format!("{what}: {error}"))
}

/// What a worker is made of.
#[derive(Debug)]
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// The core's settings.
    pub settings: Arc<Settings>,
    /// This scorer's name in its group.
    pub instance: String,
    /// The model in force.
    pub current: Current,
    /// What is counted.
    pub telemetry: Arc<Telemetry>,
    /// Whether to stop.
    pub interrupt: Interrupt,
}

impl Worker {
    /// Prepares to join the group.
    ///
    /// # Errors
    /// Kafka's settings are wrong.
    pub fn new(parts: Parts, listener: Listener) -> Result<Self, WorkerError> {
        let Parts {
            config,
            settings,
            instance,
            current,
            telemetry,
            interrupt,
        } = parts;
        let names = Names::new(&config, settings.features.interval());
        let store =
            SnapshotStore::new(&config.state.location, &config.kafka.group, &names.source());
        let letters = &config.dead_letters;
        Ok(Self {
            snapshots: SnapshotWriter::start(store.clone(), Arc::clone(&telemetry)),
            store,
            refused: Refused::new(letters.window, letters.max_share),
            consumer: consumer(&config)?,
            names,
            config,
            settings,
            instance,
            current,
            telemetry,
            interrupt,
            transactions: None,
            parts: BTreeMap::new(),
            listener,
            lag_due: Instant::now(),
            changes: VecDeque::new(),
        })
    }

    /// Runs until it is asked to stop, or until it can't go on.
    ///
    /// # Errors
    /// What can't be got over by trying again.
    pub fn run(mut self) -> Result<Ended, WorkerError> {
        let result = self.rounds();
        self.telemetry.set_ready(false);
        if let Some(transactions) = self.transactions.take() {
            transactions.give_up();
        }
        if matches!(result, Ok(Ended::Stopped)) {
            let held: Vec<i32> = self.parts.keys().copied().collect();
            self.leave(&held);
        }
        self.leave_group();
        result
    }

    /// Tells the group, so that it needn't wait for the session to run out. A broker that is away is not waited for.
    fn leave_group(self) {
        const PATIENCE: Duration = Duration::from_secs(10);
        self.consumer.context().leave();
        // What the group has said and nobody has answered would hold up closing.
        let told = self.consumer.context().take_changes();
        for change in self.changes.iter().chain(&told) {
            let (Rebalance::Given(partitions) | Rebalance::Taken(partitions)) = change;
            if let Err(error) = self.consumer.incremental_unassign(partitions) {
                tracing::debug!(%error, "while leaving the group");
            }
        }
        let Self {
            consumer,
            snapshots,
            ..
        } = self;
        // Waits for snapshots that are under way.
        drop(snapshots);
        let (done, closed) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            consumer.unsubscribe();
            drop(consumer);
            // Nobody may be waiting any more.
            done.send(()).ok();
        });
        if closed.recv_timeout(PATIENCE).is_err() {
            tracing::warn!("the group was not told in time that this scorer leaves");
        }
    }

    fn rounds(&mut self) -> Result<Ended, WorkerError> {
        let topic = self.names.source();
        self.consumer
            .subscribe(&[&topic])
            .map_err(KafkaError::new(format!("can't subscribe to `{topic}`")))?;
        let mut failures = 0_u32;
        loop {
            self.telemetry.beat();
            if self.interrupt.is_asked() {
                return Ok(Ended::Stopped);
            }
            let went = self.turn();
            if self.refused.is_too_much() {
                return Ok(Ended::Tripped {
                    refused: self.refused.n_refused,
                    of: self.refused.window,
                });
            }
            let reason = match went {
                Ok(()) => {
                    failures = 0;
                    continue;
                }
                Err(Trouble::Over(error)) => return Err(error),
                Err(Trouble::Again(reason)) => reason,
            };
            self.telemetry.aborted("failed");
            let mut reason = Some(reason);
            while let Some(what) = reason.take() {
                failures += 1;
                tracing::warn!(
                    reason = what,
                    failures,
                    "what was under way is given up; everything goes on from the last commit"
                );
                if self.interrupt.is_asked() {
                    // What is in memory is ahead of what was committed.
                    self.parts.clear();
                    return Ok(Ended::Stopped);
                }
                self.rest(failures);
                match self.recover() {
                    Ok(()) => {}
                    Err(Trouble::Over(error)) => return Err(error),
                    Err(Trouble::Again(what)) => reason = Some(what),
                }
            }
        }
    }

    /// Waits a while, longer after each failure.
    fn rest(&self, failures: u32) {
        let longest = Duration::from_millis(100 << failures.min(6));
        let until = Instant::now() + longest;
        while Instant::now() < until && !self.interrupt.is_asked() {
            self.telemetry.beat();
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// One transaction: the records of a while, or none.
    fn turn(&mut self) -> Result<(), Trouble> {
        self.change_partitions()?;
        self.measure_lag();
        let Some(judge) = self.current.get() else {
            self.telemetry.set_ready(false);
            return self.wait_for_model();
        };
        self.telemetry.set_ready(!self.parts.is_empty());
        let began = Instant::now();
        if !self.collect()? {
            return Ok(());
        }
        self.telemetry.stage("collect", began);
        if self.refused.is_too_much() {
            // Not even put aside: something is wrong with all of it.
            return Ok(());
        }
        self.commit(&*judge)
    }

    /// Without a model nothing is taken; but the group must be answered.
    fn wait_for_model(&mut self) -> Result<(), Trouble> {
        let held = self
            .consumer
            .assignment()
            .map_err(again("the assignment can't be told"))?;
        self.consumer
            .pause(&held)
            .map_err(again("partitions can't be paused"))?;
        while self.current.get().is_none()
            && !self.interrupt.is_asked()
            && !self.consumer.context().has_changes()
        {
            self.telemetry.beat();
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(_)) => {
                    let what = "a record came while partitions were paused";
                    return Err(Trouble::Again(what.to_owned()));
                }
                Some(Err(error)) => report(error)?,
                None => {}
            }
        }
        self.consumer
            .resume(&held)
            .map_err(again("partitions can't be resumed"))
    }

    /// Takes records until there are enough of them or the time is over; whether there are any.
    fn collect(&mut self) -> Result<bool, Trouble> {
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
    fn commit(&mut self, judge: &dyn Judge) -> Result<(), Trouble> {
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
            let incidents = part.pipeline.incidents_mut();
            if incidents.take_changed() {
                let bytes = incidents
                    .to_bytes()
                    .map_err(|error| Trouble::Again(causes(&error)))?;
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
                if output.channel == Channel::DeadLetters {
                    let word = output.reason.map_or("unknown", |(word, _)| word);
                    self.telemetry.rejected(word);
                }
            }
            (self.listener)(&part.outputs);
            part.outputs.clear();
            if now >= part.snapshot_due {
                part.snapshot_due = now + every;
                take_snapshot(*partition, part, |partition, offset, bytes| {
                    self.snapshots.offer(partition, offset, bytes)
                });
            }
        }
    }

    /// Acts on what the group said since the last transaction. What can't be done yet stays to be done.
    fn change_partitions(&mut self) -> Result<(), Trouble> {
        self.changes.extend(self.consumer.context().take_changes());
        while let Some(change) = self.changes.pop_front() {
            if let Err(trouble) = self.change(&change) {
                self.changes.push_front(change);
                return Err(trouble);
            }
        }
        Ok(())
    }

    fn change(&mut self, change: &Rebalance) -> Result<(), Trouble> {
        match change {
            Rebalance::Given(given) => {
                self.telemetry.rebalanced("assigned");
                let mut assignment = TopicPartitionList::new();
                for element in given.elements() {
                    let offset = self.take_up(element.partition())?;
                    assignment
                        .add_partition_offset(
                            element.topic(),
                            element.partition(),
                            Offset::Offset(offset),
                        )
                        .map_err(again("an assignment can't be written"))?;
                }
                self.consumer
                    .incremental_assign(&assignment)
                    .map_err(again("partitions can't be taken"))?;
            }
            Rebalance::Taken(taken) => {
                let partitions: Vec<i32> = taken.elements().iter().map(|e| e.partition()).collect();
                match self.consumer.assignment_lost() {
                    true => self.telemetry.rebalanced("lost"),
                    false => {
                        self.telemetry.rebalanced("revoked");
                        self.leave(&partitions);
                    }
                }
                for partition in &partitions {
                    self.parts.remove(partition);
                    self.telemetry.forget(*partition);
                }
                self.consumer
                    .incremental_unassign(taken)
                    .map_err(again("partitions can't be given up"))?;
                tracing::info!(?partitions, "partitions are given up");
            }
        }
        Ok(())
    }

    /// Writes what would otherwise have to be replayed by whoever comes next.
    fn leave(&mut self, partitions: &[i32]) {
        for partition in partitions {
            // What is under way is not in a commit, and must not be in a snapshot: it would only be passed over.
            if let Some(part) = self
                .parts
                .get_mut(partition)
                .filter(|part| !part.is_touched)
            {
                take_snapshot(*partition, part, |partition, offset, bytes| {
                    self.snapshots.insist(partition, offset, bytes);
                    true
                });
            }
        }
    }

    /// Brings a partition to where the last commit left it; the offset of its next record.
    fn take_up(&mut self, partition: i32) -> Result<i64, Trouble> {
        let began = Instant::now();
        let topic = self.names.source();
        let mut log = PartitionLog {
            config: &self.config,
            topic: &topic,
            partition,
            snapshots: &self.store,
            telemetry: &self.telemetry,
        };
        let failed = |source: LogError| failed(partition, RestoreError::Log(source));
        let (first, end) = log.watermarks(&topic).map_err(failed)?;
        let (committed, state) = match self.committed_of(&topic, partition)? {
            Some((offset, state)) => (offset, state),
            None => match self.config.kafka.start {
                Start::Earliest => (first, None),
                Start::Latest => (end, None),
            },
        };
        let incidents = match state {
            Some(offset) => Some(log.record(&self.names.state(), offset).map_err(failed)?),
            None => None,
        };
        let restored = restore(&self.settings, committed, incidents.as_deref(), &mut log)
            .map_err(|error| self::failed(partition, error))?;
        for (stored, reason) in &restored.unusable {
            tracing::warn!(
                partition,
                snapshot = stored.name,
                reason,
                "a snapshot can't be used"
            );
        }
        if restored.missing > 0 || committed < first {
            let lost = (first - committed).max(0);
            tracing::error!(
                partition,
                unread = lost,
                unreplayed = restored.missing,
                "records are gone from Kafka before they were read: its retention is shorter than this scorer was behind"
            );
            self.telemetry.rejected("retention");
        }
        self.telemetry.restored(began);
        tracing::info!(
            partition,
            offset = committed,
            replayed = restored.replayed,
            symbols = restored.pipeline.partition().n_symbols(),
            seconds = began.elapsed().as_secs_f64(),
            "a partition is taken up"
        );
        // Not all partitions at the same moment.
        let every = self.config.state.every.0;
        let share = f64::from(partition.rem_euclid(16) + 1) / 16.0;
        let part = Part {
            snapshot_at: restored.snapshot.map_or(-1, |stored| stored.next_offset),
            pipeline: restored.pipeline,
            outputs: Outputs::default(),
            is_touched: false,
            state,
            snapshot_due: Instant::now() + every.mul_f64(share),
            counted: PartitionCounts::default(),
            timestamp: None,
        };
        let mut part = part;
        part.counted = part.pipeline.partition().counts();
        self.parts.insert(partition, part);
        Ok(committed.max(first))
    }

    /// What was committed for a partition: the offset, and where its state lies.
    fn committed_of(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Option<(i64, Option<i64>)>, Trouble> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, partition);
        let committed = self
            .consumer
            .committed_offsets(asked, ANSWER)
            .map_err(again("what was committed can't be told"))?;
        let Some(element) = committed.find_partition(topic, partition) else {
            return Ok(None);
        };
        element
            .error()
            .map_err(again("what was committed can't be told"))?;
        let Offset::Offset(offset) = element.offset() else {
            return Ok(None);
        };
        let state =
            Progress::state_of(element.metadata()).map_err(|metadata| WorkerError::Foreign {
                partition,
                metadata,
            })?;
        Ok(Some((offset, state)))
    }

    /// Back to what was committed, with a new producer.
    fn recover(&mut self) -> Result<(), Trouble> {
        if let Some(transactions) = self.transactions.take() {
            transactions.give_up();
        }
        // The new producer first: it ends what the old one may have left open, so that what is committed is known.
        self.transactions = Some(Transactions::new(
            &self.config,
            &self.names,
            &self.instance,
        )?);
        let topic = self.names.source();
        self.parts.clear();
        let assignment = self
            .consumer
            .assignment()
            .map_err(again("the assignment can't be told"))?;
        // A partition that is to be taken up or given up is dealt with when the group's word is acted on.
        let assigned: Vec<i32> = assignment
            .elements()
            .iter()
            .map(|e| e.partition())
            .collect();
        for partition in assigned {
            let offset = self.take_up(partition)?;
            self.consumer
                .seek(&topic, partition, Offset::Offset(offset), ANSWER)
                .map_err(again("a partition can't be wound back"))?;
        }
        Ok(())
    }

    /// How far behind the partitions are, now and then.
    fn measure_lag(&mut self) {
        const EVERY: Duration = Duration::from_secs(10);
        if Instant::now() < self.lag_due {
            return;
        }
        self.lag_due = Instant::now() + EVERY;
        let topic = self.names.source();
        for (partition, part) in &self.parts {
            let marks =
                self.consumer
                    .fetch_watermarks(&topic, *partition, Duration::from_millis(500));
            if let Ok((_, end)) = marks {
                let behind = end - part.pipeline.partition().next_offset();
                self.telemetry.lag(*partition, behind.max(0));
            }
        }
    }
}

/// What a transaction said, until it is committed.
#[derive(Default)]
struct Said {
    judged: Judged,
    scores: Vec<f64>,
    alerts: Vec<Alert>,
}

impl Said {
    fn see(&mut self, row: &JudgedRow<'_>) {
        if !row.is_open {
            self.scores.extend(row.score.map(|score| score.score));
        }
        self.alerts.extend(row.alert.cloned());
    }

    fn tell(&self, telemetry: &Telemetry) {
        telemetry.judged(&self.judged);
        self.scores.iter().for_each(|score| telemetry.score(*score));
        self.alerts.iter().for_each(|alert| telemetry.alert(alert));
    }
}

/// Takes a snapshot where there is something new, and hands it on.
fn take_snapshot(partition: i32, part: &mut Part, hand: impl FnOnce(i32, i64, Vec<u8>) -> bool) {
    let offset = part.pipeline.partition().next_offset();
    if offset == part.snapshot_at {
        return;
    }
    match part.pipeline.partition().snapshot() {
        Ok(bytes) => {
            if hand(partition, offset, bytes) {
                part.snapshot_at = offset;
            }
        }
        Err(error) => tracing::error!(%error, partition, "a snapshot can't be made"),
    }
}

fn failed(partition: i32, source: RestoreError<LogError>) -> Trouble {
    let is_kafka = matches!(
        &source,
        RestoreError::Log(LogError::Kafka(_) | LogError::Silent { .. })
    );
    let error = WorkerError::Restore {
        partition,
        source: Box::new(source),
    };
    match is_kafka {
        true => Trouble::Again(causes(&error)),
        false => Trouble::Over(error),
    }
}

/// Decides what an error of the consumer means.
fn report(error: Rd) -> Result<(), Trouble> {
    match error {
        Rd::MessageConsumptionFatal(_) => {
            let what = KafkaError::new("Kafka refuses this scorer for good");
            Err(Trouble::Over(what(error).into()))
        }
        error if is_passing(&error) => {
            tracing::warn!(%error, "Kafka");
            Ok(())
        }
        error => Err(Trouble::Again(format!("records can't be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_is_more_than_the_share_of_a_full_window() {
        let mut refused = Refused::new(10, 0.2);
        for is_refused in [true, true, true, false, false, false, false, false, false] {
            refused.push(is_refused);
            assert!(!refused.is_too_much());
        }
        refused.push(false);
        assert!(refused.is_too_much());
        refused.push(false);
        assert!(!refused.is_too_much());
        assert_eq!((refused.n_refused, refused.last.len()), (2, 10));
    }
}
