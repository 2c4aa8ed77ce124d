//! The same tests as in `it/`, against PostgreSQL instead of SQLite; the harness chooses by the
//! name of this binary.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]
#![allow(
    clippy::needless_update,
    reason = "one option more must not change every test"
)]

#[path = "it/main.rs"]
mod it;

use it::harness;
