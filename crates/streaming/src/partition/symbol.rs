//! What a partition keeps of one symbol.

use std::sync::Arc;

use market::{CandleBuilder, EventId, FeatureEngine, FeatureRow};

/// Different labels of one symbol at most; the trades of further ones count as unlabelled.
const MAX_LABELS: usize = 4_096;

#[derive(Debug, Clone)]
pub(super) struct Symbol {
    pub(super) name: Arc<str>,
    pub(super) engine: FeatureEngine,
    /// Of the published lengths other than the engine's, in the settings' order.
    pub(super) builders: Vec<CandleBuilder>,
    /// The kinds of labelled events; the number of an [`EventId`] less one is a place here.
    pub(super) labels: Vec<String>,
    /// The partition's event time when its last record came.
    pub(super) seen_at: i64,
    /// The event time of the last trade at which the open candle was judged.
    pub(super) early_at: i64,
}

impl Symbol {
    /// The event that stands for a label.
    pub(super) fn event_of(&mut self, label: &str) -> Option<EventId> {
        let place = match self.labels.iter().position(|known| known == label) {
            Some(place) => place,
            None if self.labels.len() < MAX_LABELS => {
                self.labels.push(label.to_owned());
                self.labels.len() - 1
            }
            None => return None,
        };
        EventId::new(u32::try_from(place).ok()?.checked_add(1)?)
    }

    pub(super) fn label_of(&self, row: &FeatureRow) -> Option<&str> {
        let place = row.candle.event?.get() as usize - 1;
        self.labels.get(place).map(String::as_str)
    }
}
