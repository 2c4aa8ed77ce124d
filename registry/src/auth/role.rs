//! What a user may do with something.

use std::fmt;
use std::str::FromStr;

/// What a user may do with something; each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Nothing.
    None,
    /// Read it.
    Reader,
    /// Change and delete it; everywhere, also create.
    Writer,
    /// Say what others may do with it; everywhere, also manage users.
    Admin,
}

impl Role {
    /// All of them, the weakest first.
    pub const ALL: [Self; 4] = [Self::None, Self::Reader, Self::Writer, Self::Admin];

    /// The name, as the database and the command line have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Admin => "admin",
        }
    }

    /// The name of MLflow's permission that comes closest.
    #[must_use]
    pub fn as_mlflow(self) -> &'static str {
        match self {
            Self::None => "NO_PERMISSIONS",
            Self::Reader => "READ",
            Self::Writer => "EDIT",
            Self::Admin => "MANAGE",
        }
    }

    /// What MLflow calls `name`; `USE` is what a reader may do.
    #[must_use]
    pub fn from_mlflow(name: &str) -> Option<Self> {
        Some(match name {
            "NO_PERMISSIONS" | "DENY" => Self::None,
            "READ" | "USE" => Self::Reader,
            "EDIT" => Self::Writer,
            "MANAGE" => Self::Admin,
            _ => return None,
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no role; there are none, reader, writer, admin"))
    }
}
