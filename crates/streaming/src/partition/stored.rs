//! A partition as bytes.

use std::cell::Cell;
use std::sync::Arc;

use market::{CandleBuilder, FeatureEngine};
use serde::{Deserialize, Serialize, Serializer};

use super::Partition;
use super::symbol::Symbol;
use crate::bytes::StoredError;
use crate::jump::JumpGuard;
use crate::settings::Settings;

/// What is stored of a symbol.
#[derive(Serialize, Deserialize)]
struct StoredSymbol {
    name: String,
    engine: FeatureEngine,
    builders: Vec<CandleBuilder>,
    labels: Vec<String>,
    seen_at: i64,
    early_at: i64,
}

/// What is stored of a partition.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredPartition {
    settings: [u8; 32],
    next_offset: i64,
    guard: JumpGuard,
    sweep_at: i64,
    symbols: Vec<StoredSymbol>,
}

/// A partition as it was at one offset, to be written by whoever has time for it: the symbols are shared with the
/// partition, which copies one before it changes it as long as it isn't written.
#[derive(Debug)]
pub(crate) struct FrozenPartition {
    settings: [u8; 32],
    next_offset: i64,
    guard: JumpGuard,
    sweep_at: i64,
    symbols: Vec<Arc<Symbol>>,
}

/// What is written of a partition: a [`StoredPartition`].
#[derive(Serialize)]
pub(crate) struct PartitionView {
    settings: [u8; 32],
    next_offset: i64,
    guard: JumpGuard,
    sweep_at: i64,
    symbols: Released,
}

/// Symbols that are let go of one by one as they are written: it works once.
struct Released(Cell<Vec<Arc<Symbol>>>);

impl Serialize for Released {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.take().into_iter().map(Shared))
    }
}

/// What is written of a symbol: a [`StoredSymbol`].
struct Shared(Arc<Symbol>);

impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let symbol = &*self.0;
        SymbolView {
            name: &symbol.name,
            engine: &symbol.engine,
            builders: &symbol.builders,
            labels: &symbol.labels,
            seen_at: symbol.seen_at,
            early_at: symbol.early_at,
        }
        .serialize(serializer)
    }
}

#[derive(Serialize)]
struct SymbolView<'a> {
    name: &'a str,
    engine: &'a FeatureEngine,
    builders: &'a [CandleBuilder],
    labels: &'a [String],
    seen_at: i64,
    early_at: i64,
}

impl FrozenPartition {
    pub(crate) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// All that is stored of it; to be written once.
    pub(crate) fn into_view(self) -> PartitionView {
        PartitionView {
            settings: self.settings,
            next_offset: self.next_offset,
            guard: self.guard,
            sweep_at: self.sweep_at,
            symbols: Released(Cell::new(self.symbols)),
        }
    }
}

impl Partition {
    /// What it is now, for as long as it takes to write it.
    pub(crate) fn freeze(&self) -> FrozenPartition {
        FrozenPartition {
            settings: self.settings.fingerprint(),
            next_offset: self.next_offset,
            guard: self.guard.clone(),
            sweep_at: self.sweep_at,
            symbols: self.symbols.clone(),
        }
    }

    /// The partition of which this was stored.
    ///
    /// # Errors
    /// It was made under other settings or by another version of the feature engine, or makes no sense.
    pub(crate) fn of_stored(
        settings: Arc<Settings>,
        stored: StoredPartition,
    ) -> Result<Self, StoredError> {
        if stored.settings != settings.fingerprint() {
            return Err(StoredError::OtherSettings);
        }
        let mut partition = Self {
            next_offset: stored.next_offset,
            guard: stored.guard,
            sweep_at: stored.sweep_at,
            ..Self::new(settings)
        };
        let n_builders = partition.builders().len();
        for symbol in stored.symbols {
            let name: Arc<str> = symbol.name.into();
            let is_sound = symbol.engine.config() == &partition.settings.features
                && symbol.builders.len() == n_builders
                && !partition.places.contains_key(&name);
            if !is_sound {
                return Err(StoredError::Inconsistent("symbols"));
            }
            partition
                .places
                .insert(Arc::clone(&name), partition.symbols.len());
            partition.symbols.push(Arc::new(Symbol {
                name,
                engine: symbol.engine,
                builders: symbol.builders,
                labels: symbol.labels,
                seen_at: symbol.seen_at,
                early_at: symbol.early_at,
            }));
        }
        Ok(partition)
    }
}
