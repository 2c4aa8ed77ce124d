//! `/mlflow/webhooks…`

use axum::Json;
use axum::extract::{Path, State};
use mlflow_api::ErrorCode;
use mlflow_api::types::{
    Empty, ListWebhooks, ListWebhooksResponse, TestWebhook, TestWebhookResponse, WebhookAction,
    WebhookEntity, WebhookEvent, WebhookResponse, WriteWebhook,
};

use super::Answer;
use super::error::ApiError;
use super::extract::Rpc;
use super::validate::{self, required};
use crate::Registry;
use crate::store::{PageRequest, WebhookChange};
use crate::webhooks::events;

const PAGE: i64 = 100;
const MAX_PAGE: i64 = 1000;
const MAX_NAME: usize = 63;

pub(super) async fn create(
    State(registry): State<Registry>,
    Rpc(request): Rpc<WriteWebhook>,
) -> Answer<WebhookResponse> {
    required("name", request.name.as_deref().unwrap_or_default())?;
    required("url", request.url.as_deref().unwrap_or_default())?;
    if request.events.is_empty() {
        return Err(ApiError::missing("events"));
    }
    let id = uuid::Uuid::new_v4().to_string();
    let new = change(&registry, &id, request).await?;
    let webhook = registry.store().create_webhook(&id, new).await?;
    Ok(Json(WebhookResponse { webhook }))
}

pub(super) async fn update(
    State(registry): State<Registry>,
    Path(id): Path<String>,
    Rpc(request): Rpc<WriteWebhook>,
) -> Answer<WebhookResponse> {
    let change = change(&registry, &id, request).await?;
    let webhook = registry.store().update_webhook(&id, change).await?;
    Ok(Json(WebhookResponse { webhook }))
}

/// Checks what was given of a webhook.
async fn change(
    registry: &Registry,
    id: &str,
    request: WriteWebhook,
) -> Result<WebhookChange, ApiError> {
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (name, url) = (some(request.name), some(request.url));
    if let Some(name) = &name {
        check_name(name)?;
    }
    if let Some(description) = &request.description {
        validate::at_most("description", description, 1000)?;
    }
    if let Some(url) = &url {
        validate::at_most("url", url, 500)?;
        registry
            .webhooks()
            .check_url(url)
            .await
            .map_err(ApiError::invalid)?;
    }
    let mut wanted = Vec::with_capacity(request.events.len());
    for event in &request.events {
        wanted.push(kind(event)?);
    }
    let secret = request
        .secret
        .map(|secret| registry.webhooks().seal(id, &secret))
        .transpose()
        .map_err(|error| ApiError::new(ErrorCode::InternalError, error))?;
    Ok(WebhookChange {
        name,
        description: request.description,
        url,
        events: Some(wanted).filter(|wanted| !wanted.is_empty()),
        secret,
        status: request.status,
    })
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let good = name.len() <= MAX_NAME
        && ends(name.chars().next())
        && ends(name.chars().next_back())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if good {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "Webhook name '{name}' is invalid. It must start and end with a letter or digit, be less \
         than {MAX_NAME} characters long, and contain only letters, digits, dots (.), underscores \
         (_), and hyphens (-)."
    )))
}

fn kind(event: &WebhookEvent) -> Result<(WebhookEntity, WebhookAction), ApiError> {
    let entity = event.entity.unwrap_or(WebhookEntity::Unspecified);
    let action = event.action.unwrap_or(WebhookAction::Unspecified);
    if events::exists(entity, action) {
        return Ok((entity, action));
    }
    Err(ApiError::invalid(format!(
        "Invalid action '{}' for entity '{}'.",
        action.as_str().to_ascii_lowercase(),
        entity.as_str().to_ascii_lowercase()
    )))
}

pub(super) async fn list(
    State(registry): State<Registry>,
    Rpc(request): Rpc<ListWebhooks>,
) -> Answer<ListWebhooksResponse> {
    let size = validate::max_results(request.max_results, PAGE, MAX_PAGE)?;
    let page = PageRequest::new(size, request.page_token.as_deref())?;
    let found = registry.store().list_webhooks(page).await?;
    Ok(Json(ListWebhooksResponse {
        webhooks: found.items,
        next_page_token: found.next_page_token,
    }))
}

pub(super) async fn get(
    State(registry): State<Registry>,
    Path(id): Path<String>,
) -> Answer<WebhookResponse> {
    let webhook = registry.store().get_webhook(&id).await?;
    Ok(Json(WebhookResponse { webhook }))
}

pub(super) async fn delete(
    State(registry): State<Registry>,
    Path(id): Path<String>,
) -> Answer<Empty> {
    registry.store().delete_webhook(&id).await?;
    Ok(Json(Empty {}))
}

pub(super) async fn test(
    State(registry): State<Registry>,
    Path(id): Path<String>,
    Rpc(request): Rpc<TestWebhook>,
) -> Answer<TestWebhookResponse> {
    let webhook = registry.store().get_webhook(&id).await?;
    let event = request
        .event
        .or_else(|| webhook.events.first().cloned())
        .unwrap_or_default();
    let (entity, action) = kind(&event)?;
    let result = registry.webhooks().test(&id, entity, action).await?;
    Ok(Json(TestWebhookResponse { result }))
}
