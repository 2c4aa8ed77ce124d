//! Partitions: taken, given up, restored.

use rdkafka::consumer::Consumer as _;
use rdkafka::{Offset, TopicPartitionList};

use super::Worker;
use super::error::{Trouble, again};
use super::part::take_snapshot;
use super::restoring::Restoring;
use crate::stream::clients::{ANSWER, Rebalance};
use crate::stream::transaction::Transactions;

impl Worker {
    /// Acts on what the group said since the last transaction. What can't be done yet stays to be done.
    pub(super) fn change_partitions(&mut self) -> Result<(), Trouble> {
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
                let partitions: Vec<i32> = given.elements().iter().map(|e| e.partition()).collect();
                let topic = self.names.source();
                for (partition, offset) in self.take_up(&partitions)? {
                    assignment
                        .add_partition_offset(&topic, partition, Offset::Offset(offset))
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
    pub(super) fn leave(&mut self, partitions: &[i32]) {
        for partition in partitions {
            // What is under way is not in a commit, and must not be in a snapshot: it would only be passed over.
            if let Some(part) = self
                .parts
                .get_mut(partition)
                .filter(|part| !part.is_touched)
            {
                take_snapshot(*partition, part, |partition, frozen| {
                    self.snapshots.insist(partition, frozen);
                    true
                });
            }
        }
    }

    /// Brings partitions to where the last commit left them, several at a time; the offsets of their next records.
    fn take_up(&mut self, partitions: &[i32]) -> Result<Vec<(i32, i64)>, Trouble> {
        /// More would only wait for the same disk or network.
        const AT_ONCE: usize = 8;
        let judge = self.judge();
        let restoring = Restoring {
            config: &self.config,
            settings: &self.settings,
            names: &self.names,
            consumer: &self.consumer,
            store: &self.store,
            judge,
            telemetry: &self.telemetry,
        };
        let mut restored = Vec::with_capacity(partitions.len());
        for some in partitions.chunks(AT_ONCE) {
            let results: Vec<_> = std::thread::scope(|scope| {
                let start = |partition: &i32| {
                    let (restoring, partition) = (&restoring, *partition);
                    scope.spawn(move || restoring.take_up(partition))
                };
                let threads: Vec<_> = some.iter().map(start).collect();
                threads.into_iter().map(|thread| thread.join()).collect()
            });
            for (partition, result) in some.iter().zip(results) {
                match result {
                    Ok(result) => restored.push((*partition, result?)),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        }
        let take = |(partition, (part, offset))| {
            self.parts.insert(partition, part);
            (partition, offset)
        };
        Ok(restored.into_iter().map(take).collect())
    }

    /// Back to what was committed, with a new producer.
    pub(super) fn recover(&mut self) -> Result<(), Trouble> {
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
        for (partition, offset) in self.take_up(&assigned)? {
            self.consumer
                .seek(&topic, partition, Offset::Offset(offset), ANSWER)
                .map_err(again("a partition can't be wound back"))?;
        }
        Ok(())
    }
}
