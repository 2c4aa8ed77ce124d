//! The list of what a folder of history holds.

use std::collections::BTreeMap;
use std::fmt;

use market::Interval;
use serde::{Deserialize, Serialize};

/// What a history is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "interval")]
pub enum Kind {
    /// Every trade.
    Trades,
    /// Trades of one order at one price, merged.
    AggTrades,
    /// Candles.
    Klines(Interval),
}

impl Kind {
    /// The word in the names of dumps.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trades => "trades",
            Self::AggTrades => "aggTrades",
            Self::Klines(_) => "klines",
        }
    }

    /// The name of a partition's file.
    pub fn file_name(self) -> String {
        match self {
            Self::Klines(interval) => format!("klines-{interval}.parquet"),
            kind => format!("{}.parquet", kind.as_str()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Klines(interval) => write!(f, "klines of {interval}"),
            kind => f.write_str(kind.as_str()),
        }
    }
}

/// Where a partition's rows come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// A URL, or `files`.
    pub uri: String,
    /// SHA-256 (hex) of what was read; none where it was asked for in pieces.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
}

/// One file of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// The symbol.
    pub symbol: String,
    /// The day in UTC: `2024-01-05`.
    pub date: String,
    /// The path below the folder.
    pub file: String,
    /// Rows.
    pub rows: u64,
    /// The file's size.
    pub bytes: u64,
    /// SHA-256 (hex) of the file.
    pub sha256: String,
    /// Where its rows come from.
    pub origin: Origin,
}

/// What a folder holds; the same content has the same bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// What it is of.
    pub kind: Kind,
    partitions: BTreeMap<(String, String), Partition>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    of: Kind,
    partitions: Vec<Partition>,
}

const VERSION: u32 = 1;

impl Manifest {
    /// Of nothing yet.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            partitions: BTreeMap::new(),
        }
    }

    /// The partition of a symbol and day.
    pub fn get(&self, symbol: &str, date: &str) -> Option<&Partition> {
        self.partitions.get(&(symbol.to_owned(), date.to_owned()))
    }

    /// Adds a partition, or replaces the one of its symbol and day.
    pub fn insert(&mut self, partition: Partition) {
        let key = (partition.symbol.clone(), partition.date.clone());
        self.partitions.insert(key, partition);
    }

    /// All partitions, by symbol and day.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.values()
    }

    /// As it is written.
    ///
    /// # Errors
    /// None that a manifest could cause.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let written = Written {
            version: VERSION,
            of: self.kind,
            partitions: self.partitions.values().cloned().collect(),
        };
        let mut bytes = serde_json::to_vec_pretty(&written)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// When it is none of this version.
    pub fn from_bytes(bytes: &[u8]) -> anyhow::Result<Self> {
        let written: Written = serde_json::from_slice(bytes)?;
        anyhow::ensure!(
            written.version == VERSION,
            "it is of version {}, not {VERSION}",
            written.version
        );
        let mut manifest = Self::new(written.of);
        for partition in written.partitions {
            manifest.insert(partition);
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_comes_back_and_does_not_depend_on_the_order_of_work() {
        let partition = |symbol: &str, date: &str| Partition {
            symbol: symbol.to_owned(),
            date: date.to_owned(),
            file: "f".to_owned(),
            rows: 1,
            bytes: 2,
            sha256: "s".to_owned(),
            origin: Origin {
                uri: "u".to_owned(),
                sha256: None,
            },
        };
        let parts = [
            partition("B", "2"),
            partition("A", "2"),
            partition("A", "1"),
        ];
        let mut first = Manifest::new(Kind::Klines(Interval::MINUTE));
        let mut second = first.clone();
        parts.iter().for_each(|part| first.insert(part.clone()));
        parts
            .iter()
            .rev()
            .for_each(|part| second.insert(part.clone()));
        let bytes = first.to_bytes().unwrap();
        assert_eq!(bytes, second.to_bytes().unwrap());
        assert_eq!(Manifest::from_bytes(&bytes).unwrap(), first);
        assert!(Manifest::from_bytes(b"{}").is_err());
    }
}
