//! What commands have in common that work on the database.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use registry::Options;
use registry::artifacts::Destination;
use registry::store::Store;

use super::Failure;

/// Which database.
#[derive(Debug, Clone, Args)]
pub(super) struct Database {
    /// The database: sqlite:///relative/path, sqlite:////absolute/path, or
    /// postgresql://user:password@host/database. It is created or upgraded where that is needed.
    #[arg(
        long,
        // Before or after the name of what is done with users, grants and tokens.
        global = true,
        env = "MLFLOW_BACKEND_STORE_URI",
        default_value = "sqlite:///foreshock/registry.db",
        hide_env_values = true
    )]
    pub(super) backend_store_uri: String,
}

impl Database {
    pub(super) fn options(&self, artifacts_destination: &Destination) -> Options {
        Options {
            backend_store_uri: self.backend_store_uri.clone(),
            artifacts_destination: artifacts_destination.clone(),
            ..Options::default()
        }
    }

    /// Opens it; to be closed by [`Store::close`].
    pub(super) async fn open(&self) -> Result<Store, Failure> {
        Store::open(&self.backend_store_uri)
            .await
            .context("can't open the database")
            .map_err(Failure::Environment)
    }
}

/// `30s`, `5m`, `12h`, `90d`; a number alone is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "ms" => {
            return digits
                .parse()
                .map(Duration::from_millis)
                .map_err(|_| not_a_duration(text));
        }
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _ => return Err(not_a_duration(text)),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| not_a_duration(text))
}

fn not_a_duration(text: &str) -> String {
    format!("`{text}` is no duration; write 30s, 5m, 12h or 90d")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(duration("90").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("2d").unwrap(), Duration::from_secs(172_800));
        for bad in ["", "d", "1y", "-1s", "1.5h", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
