//! Topics: created where missing, checked where they are.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::types::RDKafkaErrorCode;
use terminal::exit::Environment;
use terminal::progress::list;

use super::leave::leave;
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
    let admin = admin(settings)?;
    let found = look(&admin, settings, names);
    leave(admin);
    found
}

/// Makes sure that topics are there, with the partitions that they must have; all are looked at
/// before one is created.
///
/// # Errors
/// As [`look_at_topics`], and when the broker won't create one.
pub async fn ensure_topics(settings: &KafkaSettings, names: &[String]) -> Result<Vec<Found>> {
    let admin = Arc::new(admin(settings)?);
    let ensured = ensure(&admin, settings, names).await;
    leave(admin);
    ensured
}

/// As [`ensure_topics`], of one.
///
/// # Errors
/// As [`ensure_topics`].
pub async fn ensure_topic(settings: &KafkaSettings, name: &str) -> Result<Found> {
    let found = ensure_topics(settings, &[name.to_owned()]).await?;
    found.into_iter().next().context("look at the topic")
}

type Admin = AdminClient<Quiet>;

fn admin(settings: &KafkaSettings) -> Result<Admin> {
    let created = settings.client().create_with_context(Quiet);
    created.map_err(|error| refusal(&error).into())
}

async fn ensure(
    admin: &Arc<Admin>,
    settings: &KafkaSettings,
    names: &[String],
) -> Result<Vec<Found>> {
    let look_again = || {
        let (admin, settings, names) = (Arc::clone(admin), settings.clone(), names.to_vec());
        tokio::task::spawn_blocking(move || look(&admin, &settings, &names))
    };
    let found = look_again().await??;
    for topic in &found {
        if topic.partitions > 0 && settings.is_positions(&topic.name) {
            check_compacted(admin, &topic.name).await?;
        }
    }
    let missing = found.iter().filter(|topic| topic.partitions == 0);
    let missing: Vec<&str> = missing.map(|topic| topic.name.as_str()).collect();
    if missing.is_empty() {
        return Ok(found);
    }
    create(admin, settings, &missing).await?;
    // A new topic takes a moment to be known everywhere.
    for _ in 0..SHOWN_AFTER_LOOKS {
        let found = look_again().await??;
        if found.iter().all(|topic| topic.partitions > 0) {
            return Ok(found);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    bail!(Environment(format!(
        "topics were created, but the brokers don't show all of {}",
        list(&missing)
    )))
}

fn look(admin: &Admin, settings: &KafkaSettings, names: &[String]) -> Result<Vec<Found>> {
    let metadata = admin
        .inner()
        .fetch_metadata(None, ANSWER)
        .map_err(|error| {
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

async fn create(admin: &Admin, settings: &KafkaSettings, names: &[&str]) -> Result<()> {
    let new: Vec<NewTopic<'_>> = names
        .iter()
        .map(|name| {
            let replicas = TopicReplication::Fixed(settings.replication);
            let new = NewTopic::new(name, settings.new_partitions(name), replicas);
            if !settings.is_positions(name) {
                return new;
            }
            // Read as a whole at each start: it must stay small.
            new.set("cleanup.policy", COMPACT)
                .set("segment.bytes", "16777216")
                .set("min.cleanable.dirty.ratio", "0.1")
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(ANSWER));
    let results = admin
        .create_topics(&new, &options)
        .await
        .with_context(|| Environment(format!("could not create the topics {}", list(names))))?;
    for result in results {
        match result {
            // Somebody else was quicker: it is looked at again.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                return Err(Environment(format!(
                    "the brokers refused to create the topic `{name}` with {} partitions and {} \
                     replicas: {code}",
                    settings.new_partitions(&name),
                    settings.replication
                ))
                .into());
            }
        }
    }
    Ok(())
}

/// Looks at new topics before they count as lost, and the time between two.
const SHOWN_AFTER_LOOKS: usize = 500;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

const COMPACT: &str = "compact";

/// Makes sure that a topic never loses the last record of a key.
async fn check_compacted(admin: &Admin, name: &str) -> Result<()> {
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
