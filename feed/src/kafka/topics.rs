//! Topics: created where missing, checked where they are.

use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use terminal::exit::Environment;

use super::producer::Quiet;
use super::properties::refusal;
use super::settings::{ANSWER, KafkaSettings};

/// A topic that is ready to be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its full name.
    pub name: String,
    /// Its partitions; 0 where it isn't there yet.
    pub partitions: i32,
}

/// Looks at topics without changing anything.
///
/// # Errors
/// No broker answers (an [`Environment`] error), or a topic has not the partitions that it must
/// have.
pub fn look_at_topics(settings: &KafkaSettings, names: &[String]) -> Result<Vec<Found>> {
    let client: BaseConsumer<Quiet> = settings
        .client()
        .create_with_context(Quiet)
        .map_err(|error| refusal(&error))?;
    let metadata = client.fetch_metadata(None, ANSWER).map_err(|error| {
        anyhow::Error::new(error).context(Environment(format!(
            "no Kafka broker answers at `{}`",
            settings.brokers
        )))
    })?;
    names
        .iter()
        .map(|name| {
            let topic = metadata.topics().iter().find(|topic| topic.name() == name);
            let partitions = topic.map_or(0, |topic| topic.partitions().len());
            let partitions = i32::try_from(partitions).context("count partitions")?;
            match settings.wanted_partitions(name) {
                Some(wanted) if partitions != 0 && partitions != wanted => bail!(
                    "topic `{name}` has {partitions} partitions, not {wanted}: a symbol's trades \
                     would move to another partition; ask for {partitions}, or write to topics of \
                     another --topic-prefix"
                ),
                _ => Ok(Found {
                    name: name.clone(),
                    partitions,
                }),
            }
        })
        .collect()
}

/// Makes sure that a topic is there, with the partitions that it must have.
///
/// # Errors
/// As [`look_at_topics`], and when the broker won't create it.
pub async fn ensure_topic(settings: &KafkaSettings, name: &str) -> Result<Found> {
    let look = || {
        let (settings, names) = (settings.clone(), [name.to_owned()]);
        tokio::task::spawn_blocking(move || look_at_topics(&settings, &names))
    };
    let first = |found: Vec<Found>| found.into_iter().next().context("look at the topic");
    let found = first(look().await??)?;
    let admin: AdminClient<Quiet> = settings.client().create_with_context(Quiet)?;
    if found.partitions > 0 {
        if settings.is_positions(name) {
            check_compacted(&admin, name).await?;
        }
        return Ok(found);
    }
    let partitions = settings.new_partitions(name);
    let mut new = NewTopic::new(
        name,
        partitions,
        TopicReplication::Fixed(settings.replication),
    );
    if settings.is_positions(name) {
        // Read as a whole at each start: it must stay small.
        new = new
            .set("cleanup.policy", COMPACT)
            .set("segment.bytes", "16777216")
            .set("min.cleanable.dirty.ratio", "0.1");
    }
    let options = AdminOptions::new().operation_timeout(Some(ANSWER));
    let results = admin
        .create_topics([&new], &options)
        .await
        .with_context(|| Environment(format!("could not create the topic `{name}`")))?;
    for result in results {
        match result {
            // Somebody else was quicker: it is looked at below.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => {
                return Err(Environment(format!(
                    "the brokers refused to create the topic `{name}` with {partitions} \
                     partitions and {} replicas: {code}",
                    settings.replication
                ))
                .into());
            }
        }
    }
    // A new topic takes a moment to be known everywhere.
    for _ in 0..100 {
        let found = first(look().await??)?;
        if found.partitions > 0 {
            return Ok(found);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    bail!(Environment(format!(
        "topic `{name}` was created, but the brokers don't show it"
    )))
}

const COMPACT: &str = "compact";

/// Makes sure that a topic never loses the last record of a key.
async fn check_compacted(admin: &AdminClient<Quiet>, name: &str) -> Result<()> {
    let topic = ResourceSpecifier::Topic(name);
    let options = AdminOptions::new().request_timeout(Some(ANSWER));
    let described = admin.describe_configs([&topic], &options).await;
    let described = described.with_context(|| format!("look at the settings of `{name}`"))?;
    let Some(Ok(described)) = described.into_iter().next() else {
        // Whoever may not look is believed.
        return Ok(());
    };
    match described
        .get("cleanup.policy")
        .and_then(|entry| entry.value.as_deref())
    {
        Some(policy) if policy != COMPACT => bail!(
            "topic `{name}` has the setting cleanup.policy={policy}, not {COMPACT}: it would forget \
             where symbols stand"
        ),
        _ => Ok(()),
    }
}
