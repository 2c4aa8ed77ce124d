//! Reading and checking the file.

use std::collections::BTreeMap;
use std::path::Path;

use thiserror::Error;

use super::Config;
use crate::model::ModelUri;

/// A configuration file that can't be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error("`{path}` can't be read")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It isn't TOML, or holds what has no place there.
    #[error("`{path}`: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// With line, column, key, and the nearest known key.
        message: String,
    },
    /// Values that make no sense, all of them.
    #[error("`{path}` has {}", violations.join("; "))]
    Values {
        /// The file.
        path: String,
        /// Each with its key.
        violations: Vec<String>,
    },
}

/// Reads a file; its relative paths begin at its own folder, and the environment overrides what it may.
///
/// # Errors
/// The file, the line and the key of what is wrong.
pub fn read(path: &Path) -> Result<Config, ConfigError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Io {
        path: shown.clone(),
        source,
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let environment = std::env::vars().collect();
    Ok(parse(&text, &shown, &environment)?.relative_to(folder))
}

/// Parses and checks a file's text.
///
/// # Errors
/// As [`read`].
pub fn parse(
    text: &str,
    path: &str,
    environment: &BTreeMap<String, String>,
) -> Result<Config, ConfigError> {
    let mut config: Config = toml::from_str(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        message: message(&error, text),
    })?;
    let given = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    if let Some(brokers) = given("SCORER_BROKERS") {
        config.kafka.brokers.clone_from(brokers);
    }
    if let Some(uri) = given("MLFLOW_TRACKING_URI") {
        config.registry.uri = Some(uri.clone());
    }
    config.api.override_by(environment);
    let violations = violations(&config);
    if violations.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError::Values {
            path: path.to_owned(),
            violations,
        })
    }
}

/// What the parser says in one line, and the known key that an unknown one is nearest to.
fn message(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map_or(0, |span| {
        text[..span.start.min(text.len())].matches('\n').count() + 1
    });
    let what = error.message();
    let mut quoted = what.split('`').skip(1).step_by(2);
    let nearest = match (what.starts_with("unknown field"), quoted.next()) {
        (true, Some(unknown)) => quoted
            .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
            .filter(|(distance, _)| *distance <= 3)
            .min()
            .map(|(_, known)| format!("; did you mean `{known}`?")),
        _ => None,
    };
    format!("line {line}: {what}{}", nearest.unwrap_or_default())
}

fn violations(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let mut that = |holds: bool, key: &str, need: &str| {
        if !holds {
            found.push(format!("`{key}`: {need}"));
        }
    };
    that(
        !config.kafka.brokers.trim().is_empty(),
        "kafka.brokers",
        "HOST:PORT is needed",
    );
    that(
        !config.kafka.group.is_empty(),
        "kafka.group",
        "a name is needed",
    );
    let interval = config.kafka.transaction_interval.micros();
    that(
        (1_000..=60_000_000).contains(&interval),
        "kafka.transaction_interval",
        "1 ms to 1 minute is needed",
    );
    let timeout = config.kafka.transaction_timeout.micros();
    that(
        timeout >= 1_000_000 && timeout > interval.saturating_mul(2),
        "kafka.transaction_timeout",
        "a second at least is needed, and more than twice the interval",
    );
    that(
        (1..=10_000_000).contains(&config.kafka.transaction_records),
        "kafka.transaction_records",
        "1 to 10,000,000 is needed",
    );
    that(
        config.kafka.replication >= 1,
        "kafka.replication",
        "1 or more is needed",
    );
    for key in config.kafka.properties.keys() {
        let is_ours = OURS.contains(&key.as_str());
        that(
            !is_ours,
            &format!("kafka.properties.{key}"),
            "what keeps the promises is no setting",
        );
    }
    that(
        config.state.every.micros() >= 1_000_000,
        "state.every",
        "a second or more is needed",
    );
    that(
        !config.state.location.is_empty(),
        "state.location",
        "a folder or an s3:// URI is needed",
    );
    that(
        config.limits.file.as_deref() != Some(""),
        "limits.file",
        "a file is needed",
    );
    that(
        config.limits.every.micros() >= 100_000,
        "limits.every",
        "100 ms or more is needed",
    );
    that(
        config.archive.location.as_deref() != Some(""),
        "archive.location",
        "a folder or an s3:// URI is needed",
    );
    that(
        config.archive.every.micros() >= 1_000_000,
        "archive.every",
        "a second or more is needed",
    );
    that(
        config.archive.rows >= 1,
        "archive.rows",
        "1 or more is needed",
    );
    that(
        config.drift.max_cooldown >= config.drift.cooldown,
        "drift.max_cooldown",
        "it can't be shorter than `drift.cooldown`",
    );
    let share = config.dead_letters.max_share;
    that(
        share > 0.0 && share <= 1.0,
        "dead_letters.max_share",
        "a number above 0, at most 1, is needed",
    );
    that(
        config.dead_letters.window >= 10,
        "dead_letters.window",
        "10 or more is needed",
    );
    let lengths = [market::Interval::TEN_SECONDS, market::Interval::MINUTE];
    that(
        config
            .stream
            .candles
            .iter()
            .all(|length| lengths.contains(length)),
        "stream.candles",
        "candles of `10s` and `1m` have topics",
    );
    config.api.check(&mut that);
    let uri = config.model.uri.parse::<ModelUri>();
    if let Some(challenger) = &config.model.challenger {
        that(
            !challenger.is_empty() && !challenger.contains(['/', '@']),
            "model.challenger",
            "the name of an alias is needed, such as `challenger`",
        );
        that(
            !matches!(uri, Ok(ModelUri::Path(_))),
            "model.challenger",
            "a model of a file has no aliases; it needs models:/NAME@ALIAS or models:/NAME/VERSION in `model.uri`",
        );
        that(
            !matches!(&uri, Ok(ModelUri::Alias { alias, .. }) if alias == challenger),
            "model.challenger",
            "it is the alias of the model itself",
        );
    }
    match uri {
        Ok(ModelUri::Path(_)) => {}
        Ok(_) => that(
            config.registry.uri.is_some(),
            "registry.uri",
            "a registered model needs a registry, here or in MLFLOW_TRACKING_URI",
        ),
        Err(reason) => that(false, "model.uri", &reason),
    }
    if let Some(features) = config.features {
        match features.check() {
            Err(error) => that(false, "features", &error.to_string()),
            Ok(features) => {
                if let Err(error) = config.settings(features).check() {
                    that(false, &format!("stream.{}", error.key), &error.reason);
                }
            }
        }
    }
    found
}

/// Properties of librdkafka that decide about delivery.
pub(crate) const OURS: [&str; 13] = [
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "acks",
    "request.required.acks",
    "transactional.id",
    "transaction.timeout.ms",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Config, String> {
        parse(text, "scorer.toml", &BTreeMap::new()).map_err(|error| error.to_string())
    }

    #[test]
    fn little_is_enough() {
        let config = of("[model]\nuri = \"models/iforest\"\n").unwrap();
        assert_eq!(config.kafka.group, "scorer");
        let config = of("[model]\nuri = \"models:/m@champion\"\n[registry]\nuri = \"http://r\"\n[features]\ninterval = \"10s\"\n[stream]\nscore_on = \"trade\"\nevery = \"500ms\"").unwrap();
        let settings = config.settings(config.features.unwrap().check().unwrap());
        assert_eq!(settings.early, Some(500_000));
        settings.check().unwrap();
    }

    #[test]
    fn the_environment_comes_first() {
        let environment = [
            ("SCORER_BROKERS", "b:1"),
            ("MLFLOW_TRACKING_URI", "http://r"),
            ("SCORER_API_TOKEN", "0123456789abcdef"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let text = "[model]\nuri = \"models:/m/3\"\n[kafka]\nbrokers = \"a:1\"\n[api]\nlisten = \"[::]:80\"";
        let config = parse(text, "f", &environment.into()).unwrap();
        assert_eq!(config.kafka.brokers, "b:1");
        assert_eq!(config.registry.uri.as_deref(), Some("http://r"));
        assert!(config.api.token.unwrap().is(b"0123456789abcdef"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("[model]\n", "line 1: missing field `uri`"),
            (
                "[model]\nuri = \"m\"\n[kafka]\nbroker = \"a\"",
                "line 4: unknown field `broker`",
            ),
            (
                "[model]\nuri = \"m\"\n[kafka]\nbroker = \"a\"",
                "did you mean `brokers`?",
            ),
            (
                "[model]\nuri = \"m\"\n[stream]\nidle = \"5\"",
                "`5` is no length of time",
            ),
            (
                "[model]\nuri = \"models:/m@a\"",
                "`registry.uri`: a registered model needs a registry",
            ),
            ("[model]\nuri = \"models:/m\"", "`model.uri`"),
            (
                "[model]\nuri = \"m\"\nchallenger = \"c\"",
                "`model.challenger`: a model of a file has no aliases",
            ),
            (
                "[model]\nuri = \"models:/m@c\"\nchallenger = \"c\"\n[registry]\nuri = \"http://r\"",
                "`model.challenger`: it is the alias of the model itself",
            ),
            (
                "[model]\nuri = \"m\"\n[api]\nlisten = \"0.0.0.0:8800\"",
                "`api.listen`: others reach this address",
            ),
            (
                "[model]\nuri = \"m\"\n[api]\nlisten = \"8800\"",
                "`api.listen`: HOST:PORT is needed",
            ),
            (
                "[model]\nuri = \"m\"\n[api]\ntoken = \"secret\"",
                "`api.token`: the token is shorter",
            ),
            (
                "[model]\nuri = \"m\"\n[api]\nprotect_metrics = true",
                "`api.protect_metrics`",
            ),
            (
                "[model]\nuri = \"m\"\n[api]\nmax_rows = 0",
                "`api.max_rows`: 1 to 1000000 is needed",
            ),
            (
                "[model]\nuri = \"m\"\n[kafka.properties]\n\"transactional.id\" = \"x\"",
                "`kafka.properties.transactional.id`",
            ),
            (
                "[model]\nuri = \"m\"\n[kafka]\ntransaction_interval = \"2m\"",
                "`kafka.transaction_interval`",
            ),
            (
                "[model]\nuri = \"m\"\n[dead_letters]\nmax_share = 0.0",
                "`dead_letters.max_share`",
            ),
            (
                "[model]\nuri = \"m\"\n[archive]\nrows = 0",
                "`archive.rows`",
            ),
            (
                "[model]\nuri = \"m\"\n[drift]\nmax_cooldown = \"1h\"",
                "`drift.max_cooldown`",
            ),
            (
                "[model]\nuri = \"m\"\n[stream]\ncandles = [\"5m\"]",
                "`stream.candles`",
            ),
            (
                "[model]\nuri = \"m\"\n[features]\ninterval = \"10s\"\nwindow = 1",
                "`features`",
            ),
            (
                "[model]\nuri = \"m\"\n[features]\ninterval = \"10s\"\n[stream]\nidle = \"0s\"",
                "`stream.idle`",
            ),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(expected), "{error} / {expected}");
        }
    }
}
