//! Traces, their spans and their assessments.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};
use serde_json::{Value, json};

use super::KeyValue;
use crate::schema::{Named, Schema};
use crate::wire::{FromWire, ToWire};

/// A moment, in ms since the epoch; on the wire an RFC 3339 text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timestamp(pub i64);

impl FromWire for Timestamp {
    fn from_wire<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment = jiff::Timestamp::from_str(&text)
            .map_err(|_| D::Error::custom(format!("`{text}` is not an RFC 3339 timestamp")))?;
        Ok(Self(moment.as_millisecond()))
    }
}

impl ToWire for Timestamp {
    fn to_wire<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Beyond jiff's range nothing can be shown; the client reads the epoch.
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        let text = if self.0 % 1000 == 0 {
            format!("{moment:.0}")
        } else {
            format!("{moment:.3}")
        };
        serializer.serialize_str(&text)
    }
}

impl Schema for Timestamp {
    fn schema(_: &mut Named) -> Value {
        json!({ "type": "string", "format": "date-time" })
    }
}

/// A length of time in ms; on the wire seconds with an `s`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Millis(pub i64);

impl FromWire for Millis {
    fn from_wire<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_seconds(&text)
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("`{text}` is not a duration in seconds")))
    }
}

/// The ms of `12.345s`.
fn parse_seconds(text: &str) -> Option<i64> {
    let number = text.strip_suffix('s')?;
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    let millis = whole
        .parse::<i64>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(thousandths.parse().ok()?)?;
    Some(if negative { -millis } else { millis })
}

impl ToWire for Millis {
    fn to_wire<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (seconds, millis) = (self.0.unsigned_abs() / 1000, self.0.unsigned_abs() % 1000);
        let text = if millis == 0 {
            format!("{sign}{seconds}s")
        } else {
            format!("{sign}{seconds}.{millis:03}s")
        };
        serializer.serialize_str(&text)
    }
}

impl Schema for Millis {
    fn schema(_: &mut Named) -> Value {
        json!({ "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$" })
    }
}

crate::wire::wire_enum! {
    /// How far a trace is.
    pub enum TraceState {
        /// Nobody said.
        Unspecified = 0, "STATE_UNSPECIFIED";
        /// It ended well.
        Ok = 1, "OK";
        /// It ended with an error.
        Error = 2, "ERROR";
        /// It has not ended.
        InProgress = 3, "IN_PROGRESS";
    }
}

crate::wire::wire_enum! {
    /// Where a trace is kept.
    pub enum TraceLocationType {
        /// Nobody said.
        Unspecified = 0, "TRACE_LOCATION_TYPE_UNSPECIFIED";
        /// In an experiment.
        MlflowExperiment = 1, "MLFLOW_EXPERIMENT";
        /// In a table of another system.
        InferenceTable = 2, "INFERENCE_TABLE";
    }
}

crate::wire::wire_enum! {
    /// Who assesses.
    pub enum AssessmentSourceType {
        /// Nobody said.
        Unspecified = 0, "SOURCE_TYPE_UNSPECIFIED";
        /// A person.
        Human = 1, "HUMAN";
        /// A model.
        LlmJudge = 2, "LLM_JUDGE";
        /// A program.
        Code = 3, "CODE";
    }
}

crate::wire::wire! {
    /// A trace without its spans.
    pub struct TraceInfo {
        /// Its id: `tr-` and 32 hexadecimal digits.
        pub trace_id: String,
        /// The id that the application gave the request.
        pub client_request_id: Option<String>,
        /// Where it is kept.
        pub trace_location: Option<TraceLocation>,
        /// The beginning of the request.
        pub request_preview: Option<String>,
        /// The beginning of the answer.
        pub response_preview: Option<String>,
        /// When it began.
        pub request_time: Option<Timestamp>,
        /// How long it took.
        pub execution_duration: Option<Millis>,
        /// How far it is.
        pub state: Option<TraceState>,
        /// What never changes.
        pub trace_metadata: BTreeMap<String, String>,
        /// What was said of it.
        pub assessments: Vec<Assessment>,
        /// Its tags.
        pub tags: BTreeMap<String, String>,
    }

    /// Where a trace is kept.
    pub struct TraceLocation {
        /// What kind of place it is.
        pub r#type: Option<TraceLocationType>,
        /// The experiment.
        pub mlflow_experiment: Option<ExperimentLocation>,
    }

    /// An experiment as the place of traces.
    pub struct ExperimentLocation {
        /// The experiment.
        pub experiment_id: String,
    }

    /// A trace; spans are OpenTelemetry's, as protobuf writes them as JSON.
    pub struct Trace {
        /// What it is.
        pub trace_info: Option<TraceInfo>,
        /// Its spans.
        pub spans: Vec<Value>,
    }

    /// `traces`, POST, and the answer to requests for one trace.
    pub struct TraceMessage {
        /// The trace.
        pub trace: Option<Trace>,
    }

    /// `traces/get`.
    pub struct GetTrace {
        /// The trace.
        pub trace_id: String,
        /// Whether it may lack spans that are on their way.
        pub allow_partial: Option<bool>,
    }

    /// `traces/batchGet` and `traces/batchGetInfos`.
    pub struct BatchGetTraces {
        /// The traces.
        pub trace_ids: Vec<String>,
        /// Only those in these experiments.
        pub experiment_ids: Vec<String>,
    }

    /// The answer to `traces/batchGet`.
    pub struct BatchGetTracesResponse {
        /// Those that are complete.
        pub traces: Vec<Trace>,
    }

    /// The answer to `traces/batchGetInfos`.
    pub struct BatchGetTraceInfosResponse {
        /// Those that there are.
        pub trace_infos: Vec<TraceInfo>,
    }

    /// `traces/search`, and the old `traces`, GET.
    pub struct SearchTraces {
        /// Where to look.
        pub locations: Vec<TraceLocation>,
        /// The same, of old.
        pub experiment_ids: Vec<String>,
        /// A filter.
        pub filter: Option<String>,
        /// The page's size; 100 when absent.
        pub max_results: Option<i64>,
        /// Columns with `ASC` or `DESC`.
        pub order_by: Vec<String>,
        /// Where to go on.
        pub page_token: Option<String>,
    }

    /// The answer to [`SearchTraces`].
    pub struct SearchTracesResponse {
        /// The page.
        pub traces: Vec<TraceInfo>,
        /// Where to go on; absent on the last page.
        pub next_page_token: Option<String>,
    }

    /// The same in the old form.
    pub struct SearchTracesV2Response {
        /// The page.
        pub traces: Vec<TraceInfoV2>,
        /// Where to go on; absent on the last page.
        pub next_page_token: Option<String>,
    }

    /// `traces/delete-traces`.
    pub struct DeleteTraces {
        /// The experiment.
        pub experiment_id: String,
        /// Only those that began until then, ms since the epoch.
        pub max_timestamp_millis: Option<i64>,
        /// At most so many, the oldest first.
        pub max_traces: Option<i64>,
        /// Only these.
        pub request_ids: Vec<String>,
    }

    /// The answer to [`DeleteTraces`].
    pub struct DeleteTracesResponse {
        /// How many were deleted.
        pub traces_deleted: i64,
    }

    /// `traces/ID/tags`, PATCH and DELETE.
    pub struct TraceTag {
        /// The tag's key.
        pub key: String,
        /// Its text.
        pub value: String,
    }

    /// `traces/link-to-run`.
    pub struct LinkTracesToRun {
        /// The traces, 100 at most.
        pub trace_ids: Vec<String>,
        /// The run.
        pub run_id: String,
    }

    /// `traces/link-prompts`.
    pub struct LinkPromptsToTrace {
        /// The trace.
        pub trace_id: String,
        /// The prompts that it used.
        pub prompt_versions: Vec<PromptVersionRef>,
    }

    /// A version of a prompt.
    pub struct PromptVersionRef {
        /// The prompt's name.
        pub name: String,
        /// The version.
        pub version: String,
    }

    /// A trace in the old form.
    pub struct TraceInfoV2 {
        /// Its id.
        pub request_id: String,
        /// Its experiment.
        pub experiment_id: String,
        /// When it began, ms since the epoch.
        pub timestamp_ms: Option<i64>,
        /// How long it took.
        pub execution_time_ms: Option<i64>,
        /// How far it is.
        pub status: Option<TraceState>,
        /// What never changes.
        pub request_metadata: Vec<KeyValue>,
        /// Its tags.
        pub tags: Vec<KeyValue>,
    }

    /// `traces`, POST, and `traces/ID`, PATCH, of old: a trace begins and ends.
    pub struct WriteTraceV2 {
        /// The experiment of a trace that begins.
        pub experiment_id: String,
        /// When it began or ended, ms since the epoch.
        pub timestamp_ms: Option<i64>,
        /// How it ended.
        pub status: Option<TraceState>,
        /// Metadata to add.
        pub request_metadata: Vec<KeyValue>,
        /// Tags to set.
        pub tags: Vec<KeyValue>,
    }

    /// The answer to requests for one trace in the old form.
    pub struct TraceInfoV2Response {
        /// The trace.
        pub trace_info: TraceInfoV2,
    }

    /// What somebody says of a trace or of one of its spans.
    pub struct Assessment {
        /// Its id.
        pub assessment_id: Option<String>,
        /// What is assessed.
        pub assessment_name: String,
        /// The trace.
        pub trace_id: Option<String>,
        /// The span.
        pub span_id: Option<String>,
        /// Who assesses.
        pub source: Option<AssessmentSource>,
        /// When it was first said.
        pub create_time: Option<Timestamp>,
        /// When it was last changed.
        pub last_update_time: Option<Timestamp>,
        /// How good it was.
        pub feedback: Option<Feedback>,
        /// How it should have been.
        pub expectation: Option<Expectation>,
        /// A known issue that shows.
        pub issue: Option<IssueReference>,
        /// Why.
        pub rationale: Option<String>,
        /// More.
        pub metadata: BTreeMap<String, String>,
        /// The assessment that this one replaces.
        pub overrides: Option<String>,
        /// Whether no other replaces it.
        pub valid: Option<bool>,
    }

    /// Who assesses.
    pub struct AssessmentSource {
        /// A person, a model or a program.
        pub source_type: Option<AssessmentSourceType>,
        /// Which.
        pub source_id: Option<String>,
    }

    /// How good something was.
    pub struct Feedback {
        /// The value: any JSON.
        pub value: Value,
        /// Why there is none.
        pub error: Option<AssessmentError>,
    }

    /// Why something could not be assessed.
    pub struct AssessmentError {
        /// What kind of error it was.
        pub error_code: Option<String>,
        /// In words.
        pub error_message: Option<String>,
        /// Where it was.
        pub stack_trace: Option<String>,
    }

    /// How something should have been.
    pub struct Expectation {
        /// The value: a JSON scalar.
        pub value: Option<Value>,
        /// The value as a text, where it is a list or an object.
        pub serialized_value: Option<SerializedValue>,
    }

    /// A value as a text.
    pub struct SerializedValue {
        /// `JSON_FORMAT`.
        pub serialization_format: Option<String>,
        /// The text.
        pub value: String,
    }

    /// A known issue.
    pub struct IssueReference {
        /// Its name.
        pub issue_name: Option<String>,
    }

    /// `traces/ID/assessments`, POST, and the answer to requests for one assessment.
    pub struct AssessmentMessage {
        /// The assessment.
        pub assessment: Option<Assessment>,
    }

    /// `traces/ID/assessments/ID`, PATCH.
    pub struct UpdateAssessment {
        /// The new values.
        pub assessment: Option<Assessment>,
        /// Which fields change, separated by commas.
        pub update_mask: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_lengths_are_written_as_protobuf_does() {
        let info: TraceInfo = serde_json::from_str(
            r#"{"request_time":"2025-04-15T08:49:18.699Z","execution_duration":"1.5s","state":1}"#,
        )
        .unwrap();
        assert_eq!(info.request_time, Some(Timestamp(1_744_706_958_699)));
        assert_eq!(info.execution_duration, Some(Millis(1500)));
        assert_eq!(info.state, Some(TraceState::Ok));
        let json = serde_json::to_string(&info).unwrap();
        assert!(json.contains(r#""2025-04-15T08:49:18.699Z""#), "{json}");
        assert!(json.contains(r#""1.500s""#), "{json}");
        let whole = TraceInfo {
            request_time: Some(Timestamp(1000)),
            execution_duration: Some(Millis(-2000)),
            ..TraceInfo::default()
        };
        let json = serde_json::to_string(&whole).unwrap();
        assert!(json.contains(r#""1970-01-01T00:00:01Z""#), "{json}");
        assert!(json.contains(r#""-2s""#), "{json}");
        for bad in ["1", "s", "1.x s", "-s", "1.0000000000s"] {
            assert_eq!(parse_seconds(bad), None, "{bad}");
        }
    }
}
