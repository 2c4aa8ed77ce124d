//! The loop.

mod batch;
mod error;
mod ownership;
mod part;
mod refused;
mod restoring;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use streaming::{Judge, ModelId, Outputs, Settings};
use terminal::interrupt::Interrupt;

pub use error::WorkerError;

use error::{Trouble, again, report};
use part::Part;
use refused::Refused;

use super::clients::{GroupContext, KafkaError, Names, Rebalance, consumer};
use super::snapshots::{SnapshotStore, SnapshotWriter};
use super::transaction::Transactions;
use crate::config::Config;
use crate::limits::{Beside, LimitsInForce};
use crate::model::Current;
use crate::telemetry::Telemetry;

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

/// Collects, judges, says and commits, for ever.
pub struct Worker {
    config: Arc<Config>,
    settings: Arc<Settings>,
    names: Names,
    instance: String,
    current: Current,
    limits: LimitsInForce,
    beside: Beside,
    telemetry: Arc<Telemetry>,
    store: SnapshotStore,
    snapshots: SnapshotWriter,
    interrupt: Interrupt,
    consumer: BaseConsumer<GroupContext>,
    transactions: Option<Transactions>,
    parts: BTreeMap<i32, Part>,
    refused: Refused,
    listener: Listener,
    /// The model that judged last.
    noticed: Option<ModelId>,
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
    /// The limits beside it.
    pub limits: LimitsInForce,
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
            limits,
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
            limits,
            beside: Beside::default(),
            telemetry,
            interrupt,
            transactions: None,
            parts: BTreeMap::new(),
            listener,
            noticed: None,
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
        let Some(judge) = self.judge() else {
            self.telemetry.set_ready(false);
            return self.wait_for_model();
        };
        self.telemetry.set_ready(!self.parts.is_empty());
        let began = Instant::now();
        if !self.collect()? {
            return Ok(());
        }
        self.telemetry.stage("collect", began);
        self.notice(&*judge);
        if self.refused.is_too_much() {
            // Not even put aside: something is wrong with all of it.
            return Ok(());
        }
        self.commit(&*judge)
    }

    /// What judges now: the model in force, and the limits beside it.
    fn judge(&mut self) -> Option<Arc<dyn Judge>> {
        let model = self.current.get()?;
        Some(
            self.beside
                .judge(model, &self.limits, Some(&self.telemetry)),
        )
    }

    /// Says once of each model that it can't be watched for drift.
    fn notice(&mut self, judge: &dyn Judge) {
        if self.noticed.as_ref() == Some(judge.model()) {
            return;
        }
        self.noticed = Some(judge.model().clone());
        if self.settings.drift.is_some() && judge.drift_baseline().is_none() {
            let ModelId { name, version, .. } = judge.model();
            tracing::warn!(
                model = name,
                version,
                "no baseline for drift was stored with the model: nothing is watched"
            );
        }
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
