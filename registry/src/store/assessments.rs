//! What was said of traces.

use std::collections::{BTreeMap, HashMap};

use mlflow_api::types::{
    Assessment, AssessmentError, AssessmentSource, AssessmentSourceType, Expectation, Feedback,
    IssueReference, SerializedValue, Timestamp,
};
use serde_json::Value;

use super::db::{Conn, QueryBuilder, query};
use super::tags::CHUNK;
use super::traces::require;
use super::{Result, Store, StoreError, now};

const COLUMNS: &str = "assessment_id, trace_id, name, type, value, error, source_type, source_id, \
     span_id, rationale, metadata, overrides, valid, creation_timestamp, last_updated_timestamp";

#[derive(sqlx::FromRow)]
struct Row {
    assessment_id: String,
    trace_id: String,
    name: String,
    r#type: String,
    value: String,
    error: Option<String>,
    source_type: String,
    source_id: Option<String>,
    span_id: Option<String>,
    rationale: Option<String>,
    metadata: Option<String>,
    overrides: Option<String>,
    valid: i64,
    creation_timestamp: i64,
    last_updated_timestamp: i64,
}

/// What changes of an assessment; `None` leaves a field as it was.
#[derive(Debug, Clone, Default)]
pub struct AssessmentChange {
    /// Its name.
    pub name: Option<String>,
    /// A feedback's value.
    pub feedback: Option<Feedback>,
    /// An expectation's value.
    pub expectation: Option<Expectation>,
    /// Why.
    pub rationale: Option<String>,
    /// Metadata to add.
    pub metadata: BTreeMap<String, String>,
}

/// (type, value, error): what an assessment says, as it is stored.
fn content(assessment: &Assessment) -> Result<(&'static str, Value, Option<Value>)> {
    match (
        &assessment.feedback,
        &assessment.expectation,
        &assessment.issue,
    ) {
        (Some(feedback), None, None) => {
            let error = feedback.error.as_ref().map(serde_json::to_value);
            Ok((
                "feedback",
                feedback.value.clone(),
                error.and_then(|e| e.ok()),
            ))
        }
        (None, Some(expectation), None) => {
            let value = match (&expectation.serialized_value, &expectation.value) {
                (Some(text), _) => serde_json::from_str(&text.value).map_err(|_| {
                    StoreError::Invalid("The expectation's serialized value is no JSON.".to_owned())
                })?,
                (None, Some(value)) => value.clone(),
                (None, None) => Value::Null,
            };
            Ok(("expectation", value, None))
        }
        (None, None, Some(issue)) => Ok((
            "issue",
            issue.issue_name.clone().map_or(Value::Null, Value::from),
            None,
        )),
        _ => Err(StoreError::Invalid(
            "Exactly one of `expectation`, `feedback`, or `issue` should be specified.".to_owned(),
        )),
    }
}

/// A value as a number, for comparisons.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        other => other.as_f64(),
    }
}

fn json_of(metadata: &BTreeMap<String, String>) -> Option<String> {
    let map: serde_json::Map<String, Value> = metadata
        .iter()
        .map(|(key, value)| (key.clone(), value.clone().into()))
        .collect();
    (!map.is_empty()).then(|| Value::Object(map).to_string())
}

impl Row {
    fn into_assessment(self) -> Assessment {
        let value: Value = serde_json::from_str(&self.value).unwrap_or_default();
        let error: Option<AssessmentError> = self
            .error
            .as_deref()
            .and_then(|error| serde_json::from_str(error).ok());
        let metadata = self.metadata.as_deref();
        let mut assessment = Assessment {
            assessment_id: Some(self.assessment_id),
            assessment_name: self.name,
            trace_id: Some(self.trace_id),
            span_id: self.span_id,
            source: Some(AssessmentSource {
                source_type: AssessmentSourceType::from_name(&self.source_type),
                source_id: self.source_id,
            }),
            create_time: Some(Timestamp(self.creation_timestamp)),
            last_update_time: Some(Timestamp(self.last_updated_timestamp)),
            rationale: self.rationale,
            metadata: metadata
                .and_then(|json| serde_json::from_str(json).ok())
                .unwrap_or_default(),
            overrides: self.overrides,
            valid: Some(self.valid == 1),
            ..Assessment::default()
        };
        match self.r#type.as_str() {
            "feedback" => assessment.feedback = Some(Feedback { value, error }),
            "issue" => {
                assessment.issue = Some(IssueReference {
                    issue_name: value.as_str().map(str::to_owned),
                });
            }
            // MLflow's clients read lists and objects from a text only.
            _ => {
                let is_scalar = !value.is_array() && !value.is_object();
                let text = (!is_scalar).then(|| SerializedValue {
                    serialization_format: Some("JSON_FORMAT".to_owned()),
                    value: value.to_string(),
                });
                assessment.expectation = Some(Expectation {
                    value: is_scalar.then_some(value),
                    serialized_value: text,
                });
            }
        }
        assessment
    }
}

impl Store {
    /// Notes what somebody says of a trace.
    ///
    /// # Errors
    /// When there is no such trace, or not the assessment that it replaces.
    pub async fn create_assessment(
        &self,
        trace_id: &str,
        assessment: &Assessment,
    ) -> Result<Assessment> {
        let mut tx = self.write().await?;
        require(&mut tx, trace_id).await?;
        if let Some(overridden) = &assessment.overrides {
            let changed = query(
                "UPDATE assessments SET valid = 0 WHERE trace_id = $1 AND assessment_id = $2",
            )
            .bind(trace_id)
            .bind(overridden)
            .execute(&mut tx)
            .await?;
            if changed == 0 {
                return Err(StoreError::NotFound(format!(
                    "Assessment with ID '{overridden}' not found for trace '{trace_id}'"
                )));
            }
        }
        let id = insert_assessment(&mut tx, trace_id, assessment).await?;
        let created = load(&mut tx, trace_id, &id).await?;
        tx.commit().await?;
        Ok(created)
    }

    /// The assessment of that id.
    ///
    /// # Errors
    /// When there is no such trace or assessment.
    pub async fn get_assessment(&self, trace_id: &str, id: &str) -> Result<Assessment> {
        let mut connection = self.read().await?;
        load(&mut connection, trace_id, id).await
    }

    /// Changes an assessment.
    ///
    /// # Errors
    /// When there is none, or when the new value is of another kind.
    pub async fn update_assessment(
        &self,
        trace_id: &str,
        id: &str,
        change: AssessmentChange,
    ) -> Result<Assessment> {
        let mut tx = self.write().await?;
        let mut assessment = load(&mut tx, trace_id, id).await?;
        let refuse = |message: &str| Err(StoreError::Invalid(message.to_owned()));
        match (change.feedback, change.expectation) {
            (Some(_), Some(_)) => {
                return refuse("Cannot specify both `expectation` and `feedback` parameters.");
            }
            (Some(_), None) if assessment.feedback.is_none() => {
                return refuse("Cannot update feedback value on an Expectation assessment.");
            }
            (None, Some(_)) if assessment.expectation.is_none() => {
                return refuse("Cannot update expectation value on a Feedback assessment.");
            }
            (Some(feedback), None) => assessment.feedback = Some(feedback),
            (None, Some(expectation)) => assessment.expectation = Some(expectation),
            (None, None) => {}
        }
        if let Some(name) = change.name {
            assessment.assessment_name = name;
        }
        assessment.rationale = change.rationale.or(assessment.rationale);
        assessment.metadata.extend(change.metadata);
        let (_, value, error) = content(&assessment)?;
        query(
            "UPDATE assessments SET name = $1, value = $2, number = $3, error = $4, \
             rationale = $5, metadata = $6, last_updated_timestamp = $7 \
             WHERE trace_id = $8 AND assessment_id = $9",
        )
        .bind(&assessment.assessment_name)
        .bind(value.to_string())
        .bind(number(&value))
        .bind(error.map(|error| error.to_string()))
        .bind(&assessment.rationale)
        .bind(json_of(&assessment.metadata))
        .bind(now())
        .bind(trace_id)
        .bind(id)
        .execute(&mut tx)
        .await?;
        let updated = load(&mut tx, trace_id, id).await?;
        tx.commit().await?;
        Ok(updated)
    }

    /// Deletes an assessment; the one that it replaced counts again. One that is not there is
    /// deleted already.
    ///
    /// # Errors
    /// When there is no such trace.
    pub async fn delete_assessment(&self, trace_id: &str, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        require(&mut tx, trace_id).await?;
        let overridden: Option<(Option<String>,)> = query(
            "DELETE FROM assessments WHERE trace_id = $1 AND assessment_id = $2 RETURNING overrides",
        )
        .bind(trace_id)
        .bind(id)
        .fetch_optional(&mut tx)
        .await?;
        if let Some((Some(overridden),)) = overridden {
            query("UPDATE assessments SET valid = 1 WHERE trace_id = $1 AND assessment_id = $2")
                .bind(trace_id)
                .bind(overridden)
                .execute(&mut tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Adds an assessment, and returns its id.
pub(super) async fn insert_assessment(
    connection: &mut Conn,
    trace_id: &str,
    assessment: &Assessment,
) -> Result<String> {
    let (kind, value, error) = content(assessment)?;
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let id = some(&assessment.assessment_id)
        .unwrap_or_else(|| format!("a-{}", uuid::Uuid::new_v4().simple()));
    let source = assessment.source.clone().unwrap_or_default();
    let source_type = source
        .source_type
        .unwrap_or(AssessmentSourceType::Unspecified);
    // Sent again with its trace, an assessment is the same one.
    let added = query(
        "INSERT INTO assessments (assessment_id, trace_id, name, type, value, number, error, \
         source_type, source_id, span_id, rationale, metadata, overrides, valid, \
         creation_timestamp, last_updated_timestamp) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
         ON CONFLICT (assessment_id) DO UPDATE SET name = excluded.name, value = excluded.value, \
         number = excluded.number, error = excluded.error, rationale = excluded.rationale, \
         metadata = excluded.metadata WHERE assessments.trace_id = excluded.trace_id",
    )
    .bind(&id)
    .bind(trace_id)
    .bind(&assessment.assessment_name)
    .bind(kind)
    .bind(value.to_string())
    .bind(number(&value))
    .bind(error.map(|error| error.to_string()))
    .bind(source_type.as_str())
    .bind(some(&source.source_id))
    .bind(some(&assessment.span_id))
    .bind(some(&assessment.rationale))
    .bind(json_of(&assessment.metadata))
    .bind(some(&assessment.overrides))
    .bind(i64::from(assessment.valid.unwrap_or(true)))
    .bind(assessment.create_time.map_or_else(now, |time| time.0))
    .bind(assessment.last_update_time.map_or_else(now, |time| time.0))
    .execute(connection)
    .await?;
    if added == 0 {
        return Err(StoreError::Exists(format!(
            "Assessment with ID '{id}' belongs to another trace."
        )));
    }
    Ok(id)
}

async fn load(connection: &mut Conn, trace_id: &str, id: &str) -> Result<Assessment> {
    let mut query = QueryBuilder::new(connection, "SELECT ");
    query
        .push(COLUMNS)
        .push(" FROM assessments WHERE trace_id = ")
        .push_bind(trace_id.to_owned());
    query.push(" AND assessment_id = ").push_bind(id.to_owned());
    let row: Option<Row> = query.build().fetch_optional(connection).await?;
    match row {
        Some(row) => Ok(row.into_assessment()),
        None => {
            require(connection, trace_id).await?;
            Err(StoreError::NotFound(format!(
                "Assessment with ID '{id}' not found for trace '{trace_id}'"
            )))
        }
    }
}

/// What was said of traces, the oldest first.
pub(super) async fn assessments_of(
    connection: &mut Conn,
    trace_ids: &[String],
) -> Result<HashMap<String, Vec<Assessment>>> {
    let mut found: HashMap<String, Vec<Assessment>> = HashMap::new();
    for chunk in trace_ids.chunks(CHUNK) {
        let mut query = QueryBuilder::new(connection, "SELECT ");
        query.push(COLUMNS).push(" FROM assessments WHERE trace_id");
        query.push_in(chunk);
        query.push(" ORDER BY trace_id, creation_timestamp, assessment_id");
        let rows: Vec<Row> = query.build().fetch_all(connection).await?;
        for row in rows {
            let trace_id = row.trace_id.clone();
            let list = found.entry(trace_id).or_default();
            list.push(row.into_assessment());
        }
    }
    Ok(found)
}
