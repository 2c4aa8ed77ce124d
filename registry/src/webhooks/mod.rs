//! Webhooks: signed messages to others when the registry changes.
//!
//! A change puts one delivery per webhook into the database ([`Webhooks::fire`]); a task of each
//! replica takes those whose time has come and sends them ([`Webhooks::run`]). What fails in a way
//! that may pass is tried again, later and later; a restart or another replica goes on.

mod address;
mod delivery;
pub(crate) mod events;
mod secret;

use std::sync::Arc;
use std::time::Duration;

use mlflow_api::types::{WebhookAction, WebhookEntity, WebhookTestResult};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::store::{Store, StoreError, WebhookTarget};
use secret::{Cipher, SecretError};

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How webhooks are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookOptions {
    /// Whether they may go to addresses that are not public: for tests and closed networks.
    pub allow_private: bool,
    /// The schemes that their URLs may have.
    pub allowed_schemes: Vec<String>,
    /// What secrets are encrypted with: 32 bytes in URL-safe base64. Without it the server makes a
    /// key and keeps it in its database.
    pub secret_key: Option<String>,
}

impl Default for WebhookOptions {
    fn default() -> Self {
        Self {
            allow_private: false,
            allowed_schemes: vec!["https".to_owned()],
            secret_key: None,
        }
    }
}

/// Why webhooks can't be sent at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookSetupError {
    /// The key is none.
    #[error("webhook secret key: {0}")]
    Key(String),
    /// The client can't be made.
    #[error("the client that sends webhooks can't be made")]
    Client(#[source] reqwest::Error),
    /// The database failed.
    #[error("the key for webhooks' secrets can't be read")]
    Store(#[from] StoreError),
}

impl From<SecretError> for WebhookSetupError {
    fn from(error: SecretError) -> Self {
        Self::Key(error.to_string())
    }
}

/// Sends webhooks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Webhooks {
    store: Store,
    options: Arc<WebhookOptions>,
    cipher: Arc<Cipher>,
    client: reqwest::Client,
    /// Told when there is something to send.
    wake: Arc<Notify>,
}

impl Webhooks {
    /// Webhooks over a store.
    ///
    /// # Errors
    /// When the key is none, or the client can't be made.
    pub(crate) async fn open(
        store: Store,
        options: WebhookOptions,
    ) -> Result<Self, WebhookSetupError> {
        let key = match &options.secret_key {
            Some(text) => secret::read_key(text)?,
            None => {
                let fresh: [u8; secret::KEY] = secret::random()?;
                store.server_key("webhook-secrets", &fresh).await?
            }
        };
        Ok(Self {
            cipher: Arc::new(Cipher::new(&key)?),
            client: address::client(&options).map_err(WebhookSetupError::Client)?,
            options: Arc::new(options),
            store,
            wake: Arc::new(Notify::new()),
        })
    }

    /// Checks where a webhook would send to, and says what is wrong with it.
    ///
    /// # Errors
    /// When it is not a place to send to.
    pub(crate) async fn check_url(&self, url: &str) -> Result<(), String> {
        address::check(url, &self.options).await.map(drop)
    }

    /// A secret as it is kept.
    ///
    /// # Errors
    /// When it can't be encrypted.
    pub(crate) fn seal(&self, webhook_id: &str, secret: &str) -> Result<Vec<u8>, String> {
        self.cipher
            .seal(webhook_id, secret)
            .map_err(|error| error.to_string())
    }

    /// Puts one message per webhook that wants it into the queue. The change has happened already:
    /// what goes wrong here is logged, and fails no request.
    async fn fire(&self, webhook_ids: &[String], payload: &Value) {
        let text = payload.to_string();
        for webhook_id in webhook_ids {
            let delivery_id = uuid::Uuid::new_v4().to_string();
            match self
                .store
                .enqueue_delivery(&delivery_id, webhook_id, &text)
                .await
            {
                Ok(true) => self.wake.notify_one(),
                Ok(false) => tracing::error!(
                    webhook.id = webhook_id,
                    "a webhook delivery was dropped: too many wait, or the webhook is gone"
                ),
                Err(error) => tracing::error!(
                    webhook.id = webhook_id,
                    error = &error as &dyn std::error::Error,
                    "a webhook delivery could not be queued"
                ),
            }
        }
    }

    /// Sends an example of a message, once and now.
    ///
    /// # Errors
    /// When there is no such webhook.
    pub(crate) async fn test(
        &self,
        webhook_id: &str,
        entity: WebhookEntity,
        action: WebhookAction,
    ) -> Result<WebhookTestResult, StoreError> {
        let target = self.store.webhook_target(webhook_id).await?;
        let payload = message(entity, action, events::example(entity, action)).to_string();
        let id = uuid::Uuid::new_v4().to_string();
        Ok(match self.send(&target, &id, payload).await {
            Ok(answer) => WebhookTestResult {
                success: answer.status < 400,
                response_status: Some(i64::from(answer.status)),
                response_body: Some(answer.body),
                error_message: None,
            },
            Err(error) => WebhookTestResult {
                success: false,
                error_message: Some(format!("Failed to test webhook: {error}")),
                ..WebhookTestResult::default()
            },
        })
    }

    async fn send(
        &self,
        target: &WebhookTarget,
        delivery_id: &str,
        payload: String,
    ) -> Result<delivery::Answer, String> {
        let url = address::check(&target.url, &self.options).await?;
        let secret = match &target.secret {
            None => None,
            Some(sealed) => Some(
                self.cipher
                    .open(&target.webhook_id, sealed)
                    .map_err(|error| error.to_string())?,
            ),
        };
        delivery::send(&self.client, url, secret.as_deref(), delivery_id, payload).await
    }
}

/// A message as MLflow words it.
fn message(entity: WebhookEntity, action: WebhookAction, data: Value) -> Value {
    json!({
        "entity": entity.as_str().to_ascii_lowercase(),
        "action": action.as_str().to_ascii_lowercase(),
        "timestamp": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string(),
        "data": data,
    })
}
