//! `/mlflow/traces/ID/assessments…`

use axum::Json;
use axum::extract::{Path, State};
use mlflow_api::types::{AssessmentMessage, Empty, UpdateAssessment};

use super::Answer;
use super::error::ApiError;
use super::extract::Rpc;
use super::validate::required;
use crate::Registry;
use crate::store::AssessmentChange;

pub(super) async fn create(
    State(registry): State<Registry>,
    Path(trace_id): Path<String>,
    Rpc(request): Rpc<AssessmentMessage>,
) -> Answer<AssessmentMessage> {
    let mut assessment = request
        .assessment
        .ok_or_else(|| ApiError::missing("assessment"))?;
    required("assessment_name", &assessment.assessment_name)?;
    // The server gives the id, and every new assessment counts.
    assessment.assessment_id = None;
    assessment.valid = None;
    assessment.overrides = assessment.overrides.filter(|id| !id.is_empty());
    let created = registry
        .store()
        .create_assessment(&trace_id, &assessment)
        .await?;
    Ok(Json(AssessmentMessage {
        assessment: Some(created),
    }))
}

pub(super) async fn get(
    State(registry): State<Registry>,
    Path((trace_id, id)): Path<(String, String)>,
) -> Answer<AssessmentMessage> {
    let assessment = registry.store().get_assessment(&trace_id, &id).await?;
    Ok(Json(AssessmentMessage {
        assessment: Some(assessment),
    }))
}

pub(super) async fn update(
    State(registry): State<Registry>,
    Path((trace_id, id)): Path<(String, String)>,
    Rpc(request): Rpc<UpdateAssessment>,
) -> Answer<AssessmentMessage> {
    let assessment = request
        .assessment
        .ok_or_else(|| ApiError::missing("assessment"))?;
    required("update_mask", &request.update_mask)?;
    let mut change = AssessmentChange::default();
    for field in request.update_mask.split(',') {
        // Protobuf writes the mask's names in camelCase.
        match field.trim() {
            "assessment_name" | "assessmentName" => {
                change.name = Some(assessment.assessment_name.clone());
            }
            "feedback" => change.feedback = assessment.feedback.clone(),
            "expectation" => change.expectation = assessment.expectation.clone(),
            "rationale" => {
                change.rationale = Some(assessment.rationale.clone().unwrap_or_default());
            }
            "metadata" => change.metadata = assessment.metadata.clone(),
            _ => {}
        }
    }
    let updated = registry
        .store()
        .update_assessment(&trace_id, &id, change)
        .await?;
    Ok(Json(AssessmentMessage {
        assessment: Some(updated),
    }))
}

pub(super) async fn delete(
    State(registry): State<Registry>,
    Path((trace_id, id)): Path<(String, String)>,
) -> Answer<Empty> {
    registry.store().delete_assessment(&trace_id, &id).await?;
    Ok(Json(Empty {}))
}
