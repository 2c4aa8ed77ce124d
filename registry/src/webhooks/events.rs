//! The changes that webhooks hear of, and their messages. A prompt is a registered model with a
//! tag; its changes have names of their own.

use mlflow_api::types::{KeyValue, ModelVersion, WebhookAction, WebhookEntity};
use serde_json::{Map, Value, json};

use super::{Webhooks, message};

const IS_PROMPT: &str = "mlflow.prompt.is_prompt";
const PROMPT_TYPE: &str = "_mlflow_prompt_type";
const PROMPT_TEXT: &str = "mlflow.prompt.text";

/// A kind of change: of a model, and the same of a prompt.
type Kinds = (Option<WebhookEntity>, WebhookEntity, WebhookAction);

/// Whether tags make a registered model or a version a prompt.
fn is_prompt(tags: &[KeyValue]) -> bool {
    tags.iter()
        .any(|tag| tag.key == IS_PROMPT && tag.value.eq_ignore_ascii_case("true"))
}

/// A text, or nothing where it is empty: messages tell both as nothing.
fn some(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn map_of(tags: &[KeyValue], without: &[&str]) -> Value {
    let map: Map<String, Value> = tags
        .iter()
        .filter(|tag| !without.contains(&tag.key.as_str()))
        .map(|tag| (tag.key.clone(), tag.value.clone().into()))
        .collect();
    Value::Object(map)
}

impl Webhooks {
    /// A registered model or a prompt was created.
    pub(crate) async fn model_created(
        &self,
        name: &str,
        tags: &[KeyValue],
        description: Option<&str>,
    ) {
        let prompt = is_prompt(tags);
        let without: &[&str] = if prompt {
            &[IS_PROMPT, PROMPT_TYPE]
        } else {
            &[]
        };
        let data = json!({
            "name": name,
            "tags": map_of(tags, without),
            "description": description.unwrap_or_default(),
        });
        let entity = if prompt {
            WebhookEntity::Prompt
        } else {
            WebhookEntity::RegisteredModel
        };
        self.tell(entity, WebhookAction::Created, data).await;
    }

    /// A version was created.
    pub(crate) async fn version_created(&self, version: &ModelVersion) {
        let tags = &version.tags;
        if is_prompt(tags) {
            let text = tags.iter().find(|tag| tag.key == PROMPT_TEXT);
            let data = json!({
                "name": version.name,
                "version": version.version,
                "template": text.map(|tag| &tag.value),
                "tags": map_of(tags, &[IS_PROMPT, PROMPT_TYPE, PROMPT_TEXT]),
                "description": some(&version.description),
            });
            self.tell(WebhookEntity::PromptVersion, WebhookAction::Created, data)
                .await;
        } else {
            let data = json!({
                "name": version.name,
                "version": version.version,
                "source": version.source,
                "run_id": some(&version.run_id),
                "tags": map_of(tags, &[]),
                "description": some(&version.description),
            });
            self.tell(WebhookEntity::ModelVersion, WebhookAction::Created, data)
                .await;
        }
    }

    /// A prompt's tag was set, or (without a value) deleted. Those of models are not told.
    pub(crate) async fn model_tag(&self, name: &str, key: &str, value: Option<&str>) {
        let kinds = (None, WebhookEntity::PromptTag, set_or_deleted(value));
        let data = with_value(json!({"name": name, "key": key}), value);
        self.tell_either(kinds, name, data).await;
    }

    /// A version's tag was set, or (without a value) deleted.
    pub(crate) async fn version_tag(
        &self,
        name: &str,
        version: i64,
        key: &str,
        value: Option<&str>,
    ) {
        let kinds = (
            Some(WebhookEntity::ModelVersionTag),
            WebhookEntity::PromptVersionTag,
            set_or_deleted(value),
        );
        let data = json!({"name": name, "version": version.to_string(), "key": key});
        self.tell_either(kinds, name, with_value(data, value)).await;
    }

    /// An alias was set, or (without a version) deleted.
    pub(crate) async fn alias(&self, name: &str, alias: &str, version: Option<i64>) {
        let action = if version.is_some() {
            WebhookAction::Created
        } else {
            WebhookAction::Deleted
        };
        let mut data = json!({"name": name, "alias": alias});
        if let Some(version) = version {
            data["version"] = version.to_string().into();
        }
        let kinds = (
            Some(WebhookEntity::ModelVersionAlias),
            WebhookEntity::PromptAlias,
            action,
        );
        self.tell_either(kinds, name, data).await;
    }

    async fn tell(&self, entity: WebhookEntity, action: WebhookAction, data: Value) {
        let webhooks = self.clone();
        finish(async move {
            let wanted = webhooks.wanted(&[entity], action).await;
            let ids: Vec<String> = wanted.into_iter().map(|(id, _)| id).collect();
            if !ids.is_empty() {
                webhooks.fire(&ids, &message(entity, action, data)).await;
            }
        })
        .await;
    }

    /// Tells of a change of a model or of a prompt; which one it is is asked only when somebody
    /// wants to know.
    async fn tell_either(&self, kinds: Kinds, name: &str, data: Value) {
        let (webhooks, name) = (self.clone(), name.to_owned());
        finish(async move { webhooks.find_and_fire(kinds, &name, data).await }).await;
    }

    async fn find_and_fire(&self, kinds: Kinds, name: &str, data: Value) {
        let (model, prompt, action) = kinds;
        let entities: Vec<WebhookEntity> = model.into_iter().chain([prompt]).collect();
        let wanted = self.wanted(&entities, action).await;
        if wanted.is_empty() {
            return;
        }
        let entity = match self.store.get_registered_model(name).await {
            Ok(found) if is_prompt(&found.tags) => prompt,
            Ok(_) => match model {
                Some(model) => model,
                None => return,
            },
            Err(error) => {
                tracing::error!(
                    model.name = name,
                    error = &error as &dyn std::error::Error,
                    "no webhook is told of a change: the model can't be read"
                );
                return;
            }
        };
        let ids: Vec<String> = wanted
            .into_iter()
            .filter(|(_, wants)| wants == entity.as_str())
            .map(|(id, _)| id)
            .collect();
        if !ids.is_empty() {
            self.fire(&ids, &message(entity, action, data)).await;
        }
    }

    async fn wanted(
        &self,
        entities: &[WebhookEntity],
        action: WebhookAction,
    ) -> Vec<(String, String)> {
        self.store
            .webhooks_for(entities, action)
            .await
            .unwrap_or_else(|error| {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the webhooks of a change can't be read"
                );
                Vec::new()
            })
    }
}

/// Does it to the end, also when the client whose change it is about goes away and its request is
/// dropped: the change was made.
async fn finish(work: impl Future<Output = ()> + Send + 'static) {
    if let Err(error) = tokio::spawn(work).await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "no webhook is told of a change"
        );
    }
}

fn set_or_deleted(value: Option<&str>) -> WebhookAction {
    if value.is_some() {
        WebhookAction::Set
    } else {
        WebhookAction::Deleted
    }
}

fn with_value(mut data: Value, value: Option<&str>) -> Value {
    if let Some(value) = value {
        data["value"] = value.into();
    }
    data
}

/// Whether there is such a change.
pub(crate) fn exists(entity: WebhookEntity, action: WebhookAction) -> bool {
    use WebhookAction as A;
    use WebhookEntity as E;
    match entity {
        E::Unspecified => false,
        E::RegisteredModel | E::ModelVersion | E::Prompt | E::PromptVersion => action == A::Created,
        E::ModelVersionTag | E::PromptTag | E::PromptVersionTag => {
            matches!(action, A::Set | A::Deleted)
        }
        E::ModelVersionAlias | E::PromptAlias => matches!(action, A::Created | A::Deleted),
        E::BudgetPolicy => action == A::Exceeded,
    }
}

/// An example of a message's data.
pub(super) fn example(entity: WebhookEntity, action: WebhookAction) -> Value {
    use WebhookEntity as E;
    let tags = json!({"example_key": "example_value"});
    let prompt = matches!(
        entity,
        E::Prompt | E::PromptVersion | E::PromptTag | E::PromptVersionTag | E::PromptAlias
    );
    let mut data = json!({"name": if prompt { "example_prompt" } else { "example_model" }});
    let fields = match entity {
        E::Unspecified => json!({}),
        E::RegisteredModel => json!({"tags": tags, "description": "An example registered model"}),
        E::ModelVersion => json!({
            "version": "1", "source": "models:/123", "run_id": "abcd1234abcd5678", "tags": tags,
            "description": "An example model version",
        }),
        E::Prompt => json!({"tags": tags, "description": "An example prompt"}),
        E::PromptVersion => json!({
            "version": "1", "template": "Hello {{name}}!", "tags": tags,
            "description": "An example prompt version",
        }),
        E::PromptTag => json!({"key": "example_key"}),
        E::ModelVersionTag | E::PromptVersionTag => json!({"version": "1", "key": "example_key"}),
        E::ModelVersionAlias | E::PromptAlias => json!({"alias": "example_alias"}),
        E::BudgetPolicy => {
            return json!({
                "budget_policy_id": "bp-abc123", "budget_unit": "USD", "budget_amount": 100.0,
                "current_spend": 105.5, "duration_unit": "MONTHS", "duration_value": 1,
                "target_scope": "ENDPOINT", "workspace": "default", "target_value": "ep-abc123",
                "window_start": 1_704_067_200_000_i64,
            });
        }
    };
    if let (Some(data), Value::Object(fields)) = (data.as_object_mut(), fields) {
        data.extend(fields);
    }
    match (entity, action) {
        (_, WebhookAction::Set) => data["value"] = "example_value".into(),
        (E::ModelVersionAlias | E::PromptAlias, WebhookAction::Created) => {
            data["version"] = "1".into();
        }
        _ => {}
    }
    data
}

#[cfg(test)]
mod tests {
    use mlflow_api::types::WebhookStatus;

    use super::*;
    use crate::store::{Store, WebhookChange};

    #[tokio::test]
    async fn a_client_that_goes_away_silences_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let uri = format!("sqlite:///{}", folder.path().join("registry.db").display());
        let store = Store::open(&uri).await.unwrap();
        let webhooks = Webhooks::open(store.clone(), crate::WebhookOptions::default())
            .await
            .unwrap();
        let change = WebhookChange {
            name: Some("w".to_owned()),
            url: Some("https://example.com".to_owned()),
            status: Some(WebhookStatus::Active),
            events: Some(vec![(
                WebhookEntity::RegisteredModel,
                WebhookAction::Created,
            )]),
            ..WebhookChange::default()
        };
        store.create_webhook("w", change).await.unwrap();
        // The request is dropped where it waits first.
        tokio::select! {
            biased;
            () = webhooks.model_created("m", &[], None) => panic!("it waited for nothing"),
            () = std::future::ready(()) => {}
        }
        let queued = async {
            while store.claim_deliveries(1, 1000).await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), queued)
            .await
            .unwrap();
    }
}
