//! Models: where they are, how they are loaded, and following an alias.

mod follow;
mod load;
mod uri;

pub(crate) use follow::causes;
pub use follow::{Alias, Current, Failure, InForce, follow};
pub use load::{LoadError, Loaded, Registered, load_path};
pub use uri::ModelUri;
