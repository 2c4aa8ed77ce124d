//! The report of a run: one HTML page that stands alone, and its charts as PNG.
//!
//! [`ReportData`] is plain data. Rendering turns it into bytes, the same bytes for the same
//! data, and reads no file, clock or font of the machine.

mod data;
mod verdict;

pub use data::*;
pub use verdict::Verdict;
