//! The scorer as its users meet it: the program, a real broker, files.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod api;
mod archive;
mod drift;
mod http;
mod limits;
mod live;
mod promote;
mod replay;
mod shadow;
mod support;
mod training;
