//! Rows that can't be read, and what is done about them.

use history::HistoryError;

/// What to do about a row that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnError {
    /// Stop, and name it.
    Fail,
    /// Leave it out, count it, and name the first ones.
    Skip,
}

/// Rows that were left out.
#[derive(Debug, Clone, Default)]
pub struct Refused {
    /// How many.
    pub count: u64,
    /// The first ones: file, row and reason.
    pub first: Vec<String>,
}

impl Refused {
    /// How many are named.
    const NAMED: usize = 20;

    pub(super) fn add(&mut self, error: &HistoryError) {
        self.count += 1;
        if self.first.len() < Self::NAMED {
            self.first.push(error.to_string());
        }
    }
}
