//! How `registry serve` follows Kafka.

use std::time::Duration;

use clap::Args;
use registry::MarketOptions;
use registry::store::{HistoryKind, HistoryRetention};

use super::duration;

/// How Kafka is followed.
#[derive(Clone, Args)]
#[command(next_help_heading = "History of alerts, drift, candles and scores")]
pub(super) struct MarketArgs {
    /// The Kafka brokers to follow: HOST:PORT[,HOST:PORT…]. Without them the history stays as it is.
    #[arg(long, env = "REGISTRY_BROKERS", value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    /// Comes before every topic's name, such as `test.` for `test.alerts`.
    #[arg(
        long,
        env = "REGISTRY_TOPIC_PREFIX",
        value_name = "TEXT",
        default_value = ""
    )]
    topic_prefix: String,
    /// Sets a property of librdkafka, such as `session.timeout.ms=10000`; may be repeated. Secrets
    /// belong into the variable REGISTRY_KAFKA_PROPERTIES: one KEY=VALUE a line.
    // Taken apart later, so that no error shows a value.
    #[arg(long = "kafka", value_name = "KEY=VALUE")]
    properties: Vec<String>,
    #[arg(
        long,
        env = "REGISTRY_KAFKA_PROPERTIES",
        hide = true,
        hide_env_values = true,
        default_value = ""
    )]
    kafka_properties: String,
    /// How long what is kept, by commas: KIND=DURATION, each of alerts, drift, candles, scores.
    /// [default: alerts=365d,drift=365d,candles=90d,scores=30d]
    #[arg(
        long,
        env = "REGISTRY_HISTORY_RETENTION",
        value_name = "KIND=DURATION,…",
        value_delimiter = ',',
        value_parser = kept
    )]
    history_retention: Vec<(HistoryKind, Duration)>,
}

impl MarketArgs {
    /// The options, if there are brokers.
    ///
    /// # Errors
    /// When a property is none; the message has no value.
    pub(super) fn options(&self) -> anyhow::Result<Option<MarketOptions>> {
        let Some(brokers) = self.brokers.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let mut options = MarketOptions::new(brokers);
        options.topic_prefix.clone_from(&self.topic_prefix);
        let lines = self.kafka_properties.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty()).enumerate();
        for (i, line) in lines {
            let property = property(line).ok_or_else(|| {
                anyhow::anyhow!("REGISTRY_KAFKA_PROPERTIES: line {} is no KEY=VALUE", i + 1)
            })?;
            options.properties.push(property);
        }
        for (i, text) in self.properties.iter().enumerate() {
            let property = property(text)
                .ok_or_else(|| anyhow::anyhow!("--kafka: number {} is no KEY=VALUE", i + 1))?;
            options.properties.push(property);
        }
        let mut retention = HistoryRetention::default();
        for (kind, kept) in &self.history_retention {
            *retention.of_mut(*kind) = *kept;
        }
        options.retention = retention;
        Ok(Some(options))
    }
}

/// Without the properties.
impl std::fmt::Debug for MarketArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MarketArgs")
            .field("brokers", &self.brokers)
            .finish_non_exhaustive()
    }
}

fn property(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
}

fn kept(text: &str) -> Result<(HistoryKind, Duration), String> {
    const SHORTEST: Duration = Duration::from_secs(3600);
    let (name, time) = text
        .split_once('=')
        .ok_or("write KIND=DURATION, such as scores=30d")?;
    let kind = HistoryKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == name.trim())
        .ok_or_else(|| {
            let names = HistoryKind::ALL.map(HistoryKind::as_str).join(", ");
            format!("there is no history of `{name}`, but of {names}")
        })?;
    let kept = duration(time.trim())?;
    if kept < SHORTEST {
        return Err(format!("`{time}` is too short: an hour is the least"));
    }
    Ok((kind, kept))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        market: MarketArgs,
    }

    fn options(arguments: &[&str]) -> anyhow::Result<Option<MarketOptions>> {
        let all = ["registry"].iter().chain(arguments);
        Program::try_parse_from(all)?.market.options()
    }

    #[test]
    fn without_brokers_nothing_is_followed() {
        assert!(options(&["--kafka", "a=b"]).unwrap().is_none());
        assert!(options(&["--brokers", ""]).unwrap().is_none());
    }

    #[test]
    fn each_kind_is_kept_as_long_as_is_said() {
        let options = options(&[
            "--brokers",
            "h:1",
            "--history-retention",
            "scores=7d,drift=2w",
            "--kafka",
            "a=b=c",
            "--kafka-properties",
            "\nsasl.password = x \n",
        ])
        .unwrap()
        .unwrap();
        let retention = options.retention;
        assert_eq!(retention.scores, Duration::from_secs(7 * 86_400));
        assert_eq!(retention.drift, Duration::from_secs(14 * 86_400));
        assert_eq!(retention.alerts, HistoryRetention::default().alerts);
        let property = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            options.properties,
            [property("sasl.password", "x"), property("a", "b=c")]
        );
        assert!(!format!("{options:?}").contains("b=c"));
    }

    #[test]
    fn what_is_wrong_is_told_without_a_value() {
        for bad in ["trades=1d", "scores", "scores=1y", "scores=5m"] {
            assert!(
                options(&["--brokers", "h:1", "--history-retention", bad]).is_err(),
                "{bad}"
            );
        }
        for bad in [
            ["--kafka", "secret"],
            ["--kafka", "=secret"],
            ["--kafka-properties", "a=b\nsecret"],
        ] {
            let error = options(&["--brokers", "h:1", bad[0], bad[1]]).unwrap_err();
            assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        }
    }
}
