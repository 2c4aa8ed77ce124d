//! Topics: checked, and created where they are missing.

use std::time::Duration;

use market::Topic;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::types::RDKafkaErrorCode;

use super::clients::{ANSWER, KafkaError, Names, Quiet, admin, looker};
use crate::config::Config;

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// Its full name.
    pub name: String,
    /// Its partitions; 0 where there is no such topic.
    pub partitions: usize,
}

/// Looks at all topics that are read or written, what is read first.
///
/// # Errors
/// No broker answers.
pub fn check_topics(config: &Config, names: &Names) -> Result<Vec<Found>, KafkaError> {
    let client = looker(config)?;
    let metadata = client
        .fetch_metadata(None, ANSWER)
        .map_err(KafkaError::new(format!(
            "no Kafka broker answers at `{}`",
            config.kafka.brokers
        )))?;
    let all = std::iter::once(names.source()).chain(names.written(config));
    Ok(all
        .map(|name| {
            let topic = metadata.topics().iter().find(|topic| topic.name() == name);
            Found {
                partitions: topic.map_or(0, |topic| topic.partitions().len()),
                name,
            }
        })
        .collect())
}

/// Asks the brokers now and then whether they are there.
pub struct Brokers {
    client: BaseConsumer<Quiet>,
    topic: String,
}

impl std::fmt::Debug for Brokers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Brokers").finish_non_exhaustive()
    }
}

impl Brokers {
    /// A client of these brokers.
    ///
    /// # Errors
    /// Kafka's settings are wrong.
    pub fn new(config: &Config) -> Result<Self, KafkaError> {
        Ok(Self {
            client: looker(config)?,
            topic: Topic::RawTrades.name(&config.kafka.topic_prefix),
        })
    }

    /// Waits for an answer of any broker.
    ///
    /// # Errors
    /// None came in time.
    pub fn answer(&self, patience: Duration) -> Result<(), KafkaError> {
        self.client
            .fetch_metadata(Some(&self.topic), patience)
            .map(drop)
            .map_err(KafkaError::new("no Kafka broker answers"))
    }
}

/// What is wrong with the topics.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// Kafka refuses, or does not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// What is read is not there.
    #[error("there is no topic `{0}` to read; start the feed first, which creates it")]
    Missing(String),
    /// A topic of state has too few partitions.
    #[error(
        "topic `{name}` has {partitions} partitions, but `{source_name}` has {wanted}: each of them keeps its state in the one of its number"
    )]
    TooFew {
        /// The topic.
        name: String,
        /// Its partitions.
        partitions: usize,
        /// What is read.
        source_name: String,
        /// Its partitions.
        wanted: usize,
    },
    /// The brokers won't create a topic.
    #[error("the brokers refused to create the topic `{name}`: {code}")]
    Refused {
        /// The topic.
        name: String,
        /// Why.
        code: RDKafkaErrorCode,
    },
}

/// Makes sure that what is read is there, and creates what is written with as many partitions.
///
/// # Errors
/// No broker answers, what is read is missing, or what is written can't be created.
pub async fn ensure_topics(config: &Config, names: &Names) -> Result<usize, TopicError> {
    let found = check_topics(config, names)?;
    let [source, written @ ..] = &found[..] else {
        return Err(TopicError::Missing(names.source()));
    };
    if source.partitions == 0 {
        return Err(TopicError::Missing(source.name.clone()));
    }
    let wanted = source.partitions;
    let state = names.state();
    if let Some(topic) = written
        .iter()
        .find(|topic| topic.name == state && (1..wanted).contains(&topic.partitions))
    {
        return Err(TopicError::TooFew {
            name: state,
            partitions: topic.partitions,
            source_name: source.name.clone(),
            wanted,
        });
    }
    let partitions = i32::try_from(wanted).unwrap_or(i32::MAX);
    let missing: Vec<NewTopic<'_>> = written
        .iter()
        .filter(|topic| topic.partitions == 0)
        .map(|topic| {
            let replicas = TopicReplication::Fixed(config.kafka.replication);
            let new = NewTopic::new(&topic.name, partitions, replicas);
            match topic.name.ends_with(Topic::ScorerState.as_str()) {
                // Only the last state of each partition is ever asked for.
                true => new.set("cleanup.policy", "compact"),
                false => new,
            }
        })
        .collect();
    if missing.is_empty() {
        return Ok(wanted);
    }
    let options = AdminOptions::new().operation_timeout(Some(ANSWER));
    let results = admin(config)?
        .create_topics(&missing, &options)
        .await
        .map_err(KafkaError::new("topics could not be created"))?;
    for result in results {
        match result {
            // Somebody else was quicker.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(TopicError::Refused { name, code }),
        }
    }
    Ok(wanted)
}
