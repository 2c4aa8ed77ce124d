//! What a client proves itself with.

use std::fmt;

/// How requests are authorized; never shown by `Debug`.
///
/// MLflow's variables `MLFLOW_TRACKING_TOKEN`, `MLFLOW_TRACKING_USERNAME` and
/// `MLFLOW_TRACKING_PASSWORD` are read by the program, not here.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// No authorization.
    #[default]
    None,
    /// `Authorization: Basic …`.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// `Authorization: Bearer …`.
    Bearer(String),
}

impl Credentials {
    /// The credentials that MLflow's variables mean together: a user wins over a token.
    #[must_use]
    pub fn from_parts(
        username: Option<String>,
        password: Option<String>,
        token: Option<String>,
    ) -> Self {
        match (username, token) {
            (Some(username), _) => Self::Basic {
                username,
                password: password.unwrap_or_default(),
            },
            (None, Some(token)) => Self::Bearer(token),
            (None, None) => Self::None,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "Credentials::None",
            Self::Basic { .. } => "Credentials::Basic(..)",
            Self::Bearer(_) => "Credentials::Bearer(..)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Credentials;

    #[test]
    fn secrets_are_not_shown() {
        let basic = Credentials::from_parts(Some("ann".into()), Some("s3cret".into()), None);
        let bearer = Credentials::from_parts(None, None, Some("s3cret".into()));
        assert!(!format!("{basic:?}{bearer:?}").contains("s3cret"));
    }
}
