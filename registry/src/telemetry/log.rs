//! Lines of the log, as text or as JSON, each with the id of the request that it belongs to.
//!
//! The id comes from the task that logs, so requests that log nothing cost nothing.

use std::fmt::{Debug, Write};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::http::current_request_id;

/// What a line of the log looks like; give it to `tracing_subscriber::fmt().event_format(…)`.
#[derive(Debug)]
pub enum LogFormat {
    /// For people.
    Text(Format<Full>),
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Lines for people.
    #[must_use]
    pub fn text() -> Self {
        Self::Text(Format::default())
    }
}

impl<S, N> FormatEvent<S, N> for LogFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        match self {
            Self::Text(format) => {
                current_request_id(|id| write!(writer, "[{id}] ")).transpose()?;
                format.format_event(context, writer, event)
            }
            Self::Json => {
                let mut line = Map::new();
                line.insert("timestamp".into(), now().into());
                let metadata = event.metadata();
                line.insert("level".into(), metadata.level().as_str().into());
                line.insert("target".into(), metadata.target().into());
                event.record(&mut Fields(&mut line));
                if let Some(id) = current_request_id(|id| Value::from(id)) {
                    line.insert("request_id".into(), id);
                }
                writeln!(writer, "{}", Value::Object(line))
            }
        }
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// The fields of an event as members of an object.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn set(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a String can't fail.
        write!(text, "{value:?}").ok();
        self.set(field, text.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }
}
