//! Who asks, and what they may do.
//!
//! Without users there is no authentication: whoever reaches the server may do everything. With
//! users every request names one, by `Authorization: Basic` or `Bearer`. Each route needs a
//! [`Role`] on what it touches (`table.rs`); a role comes from a grant on that experiment or model
//! where there is one, else from the user.

mod access;
mod authenticate;
mod cache;
mod find;
mod password;
mod principal;
mod role;
mod table;
mod token;

pub(crate) use access::{Owners, Viewer, decide};
pub(crate) use authenticate::{Auth, Known, Refusal};
pub(crate) use password::verify_password;
pub use password::{PasswordError, hash_password};
pub(crate) use principal::{Grants, Principal};
pub use role::Role;
pub(crate) use table::{On, Rule, rule_of};
pub use token::Secret;
