//! How Kafka is followed.

use std::fmt;

use crate::store::HistoryRetention;

/// How Kafka is followed.
#[derive(Clone, PartialEq, Eq)]
pub struct MarketOptions {
    /// The brokers to begin with: `HOST:PORT[,HOST:PORT…]`.
    pub brokers: String,
    /// Comes before every topic's name.
    pub topic_prefix: String,
    /// Properties of librdkafka, perhaps with secrets.
    pub properties: Vec<(String, String)>,
    /// How long what is kept.
    pub retention: HistoryRetention,
}

impl MarketOptions {
    /// The options for those brokers, with the rest as `registry serve` has it by default.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic_prefix: String::new(),
            properties: Vec::new(),
            retention: HistoryRetention::default(),
        }
    }
}

/// Without the values of properties, which may be secrets.
impl fmt::Debug for MarketOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.properties.iter().map(|(key, _)| &**key).collect();
        f.debug_struct("MarketOptions")
            .field("brokers", &self.brokers)
            .field("topic_prefix", &self.topic_prefix)
            .field("properties", &names)
            .field("retention", &self.retention)
            .finish()
    }
}
