//! What scores are worth: metrics that say when they are undefined, events, intervals, importance.
//!
//! Everything works on plain slices, sorts once (O(n log n)), and gives the same numbers on any
//! number of threads.

mod input;
mod metric;
mod report;

pub use input::{EventInfo, Labels, Scored};
pub use metric::{Interval, Metric};
pub use report::{
    AtBudget, Confusion, Evaluation, EventEvaluation, GroupEvaluation, Intervals, OperatingPoint,
    SymbolEvaluation,
};
