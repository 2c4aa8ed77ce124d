//! What scores are worth: metrics that say when they are undefined, events, intervals, importance.
//!
//! Everything works on plain slices, sorts once (O(n log n)), and gives the same numbers on any
//! number of threads.

mod bootstrap;
mod episodes;
mod groups;
mod importance;
mod input;
mod metric;
mod ranking;
mod report;

pub use bootstrap::BootstrapOptions;
pub use importance::{
    FeatureImportance, Importance, ImportanceMeasure, ImportanceOptions, permutation_importance,
    permutation_importance_by,
};
pub use input::{EventInfo, Labels, Scored};
pub use metric::{Interval, Metric};
pub use ranking::{average_precision, roc_auc};
pub use report::{
    AtBudget, Confusion, Evaluation, EventEvaluation, GroupEvaluation, Intervals, OperatingPoint,
    SymbolEvaluation,
};
