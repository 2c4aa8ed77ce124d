//! Statistical limits from a file that people edit: z-scores of single candles, windows, and how many votes it takes.
//!
//! They vote beside the model, whatever kind it is. The file is watched: its content is read every few seconds, so that
//! atomic replacements and the links of a mounted ConfigMap are seen; a new one takes its place between two
//! transactions, as a model does. One that makes no sense changes nothing.
//!
//! Nothing that a restart must bring back depends on them: incidents are written with what was said, and drift is
//! watched by the model's own threshold. Rows that were judged but not committed are judged again, by the limits that
//! are in force then; each row and each alert says which.

mod file;
mod judge;
mod watch;

pub use file::{Limits, LimitsError};
pub use judge::LimitedJudge;
pub(crate) use watch::Beside;
pub use watch::{LimitsInForce, watch};
