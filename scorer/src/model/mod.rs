//! Models: where they are, how they are loaded, and following an alias.

mod follow;
mod load;
mod onnx;
mod uri;

pub(crate) use follow::causes;
pub use follow::{Alias, Current, Failure, InForce, follow};
pub use load::{LoadError, Loaded, Registered, load_path};
pub use onnx::GraphError;
pub use uri::ModelUri;
