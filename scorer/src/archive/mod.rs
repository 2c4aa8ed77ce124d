//! The scored rows as Parquet, exactly once: what the trainer reads next is what the scorer saw.
//!
//! A thread with a consumer group of its own follows the `features` topic (`read_committed`) and collects each
//! partition's rows. A stretch of them is written in three steps:
//!
//! 1. commit the offset at which it *begins*, and beside it where it ends;
//! 2. write its files, whose names and rows depend on those two alone, each whole or not at all;
//! 3. commit the offset at which it ends.
//!
//! Whoever takes the partition over between 1 and 3, after a crash or a rebalance, reads where the stretch ends, collects
//! exactly that and writes the same files again. One that was overtaken can't commit (its generation is over), so it
//! never writes a stretch of its own: at most, once more, the one that was agreed on.

mod files;
mod follow;
mod row;
mod stretch;

pub use follow::{ArchiveError, Archiver};
