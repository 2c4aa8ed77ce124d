//! Whether a record's time is believed; see [`crate::jump`].

use super::Partition;
use super::sink::Sink;
use crate::jump::{Held, Verdict};
use crate::record::{Reason, Record};

impl Partition {
    /// Whether a record with this time is to be taken now; what was held before it is dealt with.
    pub(super) fn is_believed(
        &mut self,
        event_time: i64,
        record: &Record<'_>,
        sink: &mut impl Sink,
    ) -> bool {
        match self.guard.judge(event_time, self.settings.max_jump) {
            Verdict::Take => true,
            Verdict::TakeBoth(held) => {
                self.consider_held(&held, sink);
                true
            }
            Verdict::Refuse(held) => {
                self.refuse_held(&held, sink);
                true
            }
            Verdict::Hold(before) => {
                if let Some(held) = before {
                    self.refuse_held(&held, sink);
                }
                self.guard.hold(Held {
                    event_time,
                    offset: record.offset,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.unwrap_or_default().to_vec(),
                });
                false
            }
            Verdict::RefuseThis => {
                self.refuse(record, &Reason::FarAhead(event_time), sink);
                false
            }
        }
    }

    pub(super) fn consider_held(&mut self, held: &Held, sink: &mut impl Sink) {
        self.consider(&held.record(), false, sink);
    }

    fn refuse_held(&mut self, held: &Held, sink: &mut impl Sink) {
        self.refuse(&held.record(), &Reason::FarAhead(held.event_time), sink);
    }
}

impl Held {
    fn record(&self) -> Record<'_> {
        Record {
            offset: self.offset,
            key: self.key.as_deref(),
            value: Some(&self.value),
        }
    }
}
