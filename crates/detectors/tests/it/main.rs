//! Tests through the public API only.
#![allow(clippy::unwrap_used, missing_docs)] // tests may panic, and their names say what they show

mod calibrator;
mod consensus;
mod detectors;
mod drift;
mod evaluation;
mod goldens;
mod kinds;
mod market;
mod model;
mod onnx;
mod reference;
