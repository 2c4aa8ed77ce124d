//! The scorer as its users meet it: the program, a real broker, files.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod archive;
mod drift;
mod limits;
mod live;
mod promote;
mod replay;
mod support;
