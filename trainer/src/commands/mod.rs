//! One file per command.

mod adopt;
pub mod check;
pub mod compare;
pub mod evaluate;
mod leaderboard;
mod logged;
mod outcome;
mod report_data;
pub mod reproduce;
pub mod run;
mod summary;
