//! A partition as bytes.

use std::sync::Arc;

use market::{CandleBuilder, FeatureEngine};
use serde::{Deserialize, Serialize};

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

/// The same, to be written.
#[derive(Serialize)]
pub(crate) struct PartitionView<'a> {
    settings: [u8; 32],
    next_offset: i64,
    guard: &'a JumpGuard,
    sweep_at: i64,
    symbols: Vec<SymbolView<'a>>,
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

impl Partition {
    /// All that is stored of it.
    pub(crate) fn view(&self) -> PartitionView<'_> {
        PartitionView {
            settings: self.settings.fingerprint(),
            next_offset: self.next_offset,
            guard: &self.guard,
            sweep_at: self.sweep_at,
            symbols: self
                .symbols
                .iter()
                .map(|symbol| SymbolView {
                    name: &symbol.name,
                    engine: &symbol.engine,
                    builders: &symbol.builders,
                    labels: &symbol.labels,
                    seen_at: symbol.seen_at,
                    early_at: symbol.early_at,
                })
                .collect(),
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
            partition.symbols.push(Symbol {
                name,
                engine: symbol.engine,
                builders: symbol.builders,
                labels: symbol.labels,
                seen_at: symbol.seen_at,
                early_at: symbol.early_at,
            });
        }
        Ok(partition)
    }
}
