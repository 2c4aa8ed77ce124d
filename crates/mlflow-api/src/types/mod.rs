//! Requests and responses, one module per resource; all are re-exported here.
//!
//! A required field is a plain value, empty when the sender left it out (the server refuses that
//! with MLflow's words); an optional one is an [`Option`].

mod alias_history;
mod artifacts;
mod datasets;
mod experiments;
mod logged_models;
mod models;
mod runs;
mod traces;
mod users;
mod webhooks;

pub use alias_history::*;
pub use artifacts::*;
pub use datasets::*;
pub use experiments::*;
pub use logged_models::*;
pub use models::*;
pub use runs::*;
pub use traces::*;
pub use users::*;
pub use webhooks::*;

crate::wire::wire! {
    /// A tag or a parameter: a key and a text.
    pub struct KeyValue {
        /// The key.
        pub key: String,
        /// The text.
        pub value: String,
    }

    /// The answer of requests that have nothing to say: `{}`.
    pub struct Empty {}
}

impl KeyValue {
    /// A pair of `key` and `value`.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
        }
    }
}

crate::wire::wire_enum! {
    /// Which things a search shows by their stage of life.
    pub enum ViewType {
        /// What is not deleted.
        ActiveOnly = 1, "ACTIVE_ONLY";
        /// What is deleted and not yet purged.
        DeletedOnly = 2, "DELETED_ONLY";
        /// Both.
        All = 3, "ALL";
    }
}
