//! Properties of librdkafka that somebody chose.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rdkafka::error::KafkaError;
use terminal::exit::Environment;

/// Properties that belong to an option, or to what the feed promises, and what to use instead.
const OURS: &[(&[&str], &str)] = &[
    (
        &["bootstrap.servers", "metadata.broker.list"],
        "use --brokers",
    ),
    (
        &["compression.codec", "compression.type"],
        "use --compression",
    ),
    (&["linger.ms", "queue.buffering.max.ms"], "use --linger-ms"),
    (&["queue.buffering.max.kbytes"], "use --buffer"),
    (
        &[
            "acks",
            "request.required.acks",
            "enable.idempotence",
            "enable.gapless.guarantee",
            "delivery.timeout.ms",
            "message.timeout.ms",
            "delivery.report.only.error",
            "dr_cb",
            "dr_msg_cb",
            "transactional.id",
            "transaction.timeout.ms",
            "partitioner",
            "isolation.level",
            "group.id",
            "auto.offset.reset",
            "enable.auto.commit",
            "enable.partition.eof",
            "check.crcs",
        ],
        "what is written once and in order depends on it",
    ),
];

/// Words in the names of properties whose values nobody may read.
const SECRET: &[&str] = &["password", "secret", "jaas", "key.pem"];

/// Where properties stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    CommandLine,
    File,
}

/// The properties of a file and of the command line; these win.
///
/// # Errors
/// An [`Environment`] error that names the property, and never its value.
pub(super) fn properties(file: Option<&Path>, options: &[String]) -> Result<Vec<(String, String)>> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut add = |key: &str, value: &str, from: From, place: &str| -> Result<()> {
        check(key, value, from).map_err(|reason| Environment(format!("{place}: {reason}")))?;
        found.retain(|(known, _)| known != key);
        found.push((key.to_owned(), value.to_owned()));
        Ok(())
    };
    if let Some(file) = file {
        let name = file.display();
        let text = std::fs::read_to_string(file)
            .with_context(|| Environment(format!("could not read --kafka-properties `{name}`")))?;
        for (idx, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = format!("`{name}` line {}", idx + 1);
            let Some((key, value)) = line.split_once('=') else {
                bail!(Environment(format!("{place}: a property is KEY=VALUE")));
            };
            add(key.trim(), value.trim(), From::File, &place)?;
        }
    }
    for option in options {
        let Some((key, value)) = option.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            bail!(Environment("--kafka: a property is KEY=VALUE".to_owned()));
        };
        add(key, value, From::CommandLine, "--kafka")?;
    }
    Ok(found)
}

fn check(key: &str, value: &str, from: From) -> Result<(), String> {
    if let Some((_, instead)) = OURS.iter().find(|(keys, _)| keys.contains(&key)) {
        return Err(format!("`{key}` can't be set: {instead}"));
    }
    if from == From::CommandLine && SECRET.iter().any(|word| key.contains(word)) {
        return Err(format!(
            "`{key}` would be seen in the list of processes; put it into a file, and name that with \
             --kafka-properties"
        ));
    }
    let value = value.to_ascii_lowercase();
    if key == "security.protocol" && value.contains("ssl") {
        return Err(format!(
            "`{key}={value}`: TLS to Kafka is not built in. Reach the brokers by a network that you \
             trust, or by a proxy beside the feed that speaks TLS"
        ));
    }
    if matches!(key, "sasl.mechanism" | "sasl.mechanisms") && value != "plain" {
        return Err(format!(
            "`{key}={value}`: SASL is built in with PLAIN alone"
        ));
    }
    Ok(())
}

/// What librdkafka says against its settings, without their values.
pub(crate) fn refusal(error: &KafkaError) -> Environment {
    Environment(match error {
        KafkaError::ClientConfig(_, reason, key, value) => {
            let is_told = value.is_empty() || !reason.contains(value.as_str());
            let reason = if is_told { reason } else { "its value is none" };
            format!("librdkafka refuses the property `{key}`: {reason}")
        }
        error => format!("librdkafka refuses its settings: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[&str]) -> Result<Vec<(String, String)>> {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        properties(None, &options)
    }

    #[test]
    fn what_the_promises_depend_on_is_refused_under_each_of_its_names() {
        for option in [
            "delivery.timeout.ms=1000",
            "message.timeout.ms=1000",
            "request.required.acks=1",
            "transactional.id=x",
            "queue.buffering.max.ms=1",
            "compression.type=gzip",
            "metadata.broker.list=x",
        ] {
            let error = of(&[option]).unwrap_err().to_string();
            let (key, _) = option.split_once('=').unwrap();
            assert!(error.contains(&format!("`{key}` can't be set")), "{error}");
        }
        let good = of(&["client.id=a=b", "client.id=c"]).unwrap();
        assert_eq!(good, [("client.id".to_owned(), "c".to_owned())]);
    }

    #[test]
    fn no_value_of_a_secret_is_told() {
        let error = format!("{:#}", of(&["sasl.password=hunter2"]).unwrap_err());
        assert!(
            error.contains("--kafka-properties") && !error.contains("hunter2"),
            "{error}"
        );
        let error = format!("{:#}", of(&["hunter2"]).unwrap_err());
        assert!(!error.contains("hunter2"), "{error}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "# ours\n\nsasl.password = hunter2\nsecurity.protocol=ssl\n",
        )
        .unwrap();
        let error = format!("{:#}", properties(Some(file.path()), &[]).unwrap_err());
        assert!(
            error.contains("line 4") && error.contains("TLS to Kafka is not built in"),
            "{error}"
        );
        std::fs::write(file.path(), "sasl.password=hunter2\nhunter2").unwrap();
        let error = format!("{:#}", properties(Some(file.path()), &[]).unwrap_err());
        assert!(
            error.contains("line 2") && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn librdkafka_repeats_no_value() {
        let mut config = rdkafka::ClientConfig::new();
        config.set("socket.timeout.ms", "hunter2");
        let error = config
            .create::<rdkafka::consumer::BaseConsumer>()
            .err()
            .unwrap();
        let said = refusal(&error).to_string();
        assert!(
            said.contains("`socket.timeout.ms`") && !said.contains("hunter2"),
            "{said}"
        );
    }
}
