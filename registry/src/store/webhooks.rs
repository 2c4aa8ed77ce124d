//! Webhooks, and what is still to be delivered to them.

use std::collections::HashMap;

use mlflow_api::types::{Webhook, WebhookAction, WebhookEntity, WebhookEvent, WebhookStatus};

use super::db::{Conn, QueryBuilder, query};
use super::tags::CHUNK;
use super::{Page, PageRequest, Result, Store, StoreError, now};

/// More deliveries than this don't wait: receivers that are down must not fill the database.
const MAX_WAITING: i64 = 10_000;

const COLUMNS: &str = "r.webhook_id, r.name, r.description, r.url, r.status, \
                       r.creation_timestamp, r.last_updated_timestamp";

#[derive(sqlx::FromRow)]
struct Row {
    webhook_id: String,
    name: String,
    description: Option<String>,
    url: String,
    status: String,
    creation_timestamp: i64,
    last_updated_timestamp: i64,
}

/// What changes of a webhook; `None` leaves a field as it was.
#[derive(Debug, Clone, Default)]
pub struct WebhookChange {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Where it sends to.
    pub url: Option<String>,
    /// What it sends.
    pub events: Option<Vec<(WebhookEntity, WebhookAction)>>,
    /// The encrypted secret; an empty one is none.
    pub secret: Option<Vec<u8>>,
    /// Whether it is used.
    pub status: Option<WebhookStatus>,
}

/// Where a webhook sends to, and its encrypted secret.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct WebhookTarget {
    /// The webhook.
    pub webhook_id: String,
    /// Where it sends to.
    pub url: String,
    /// Its encrypted secret.
    pub secret: Option<Vec<u8>>,
}

/// A delivery that is now to be attempted.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Delivery {
    /// Its id: the same for every attempt.
    pub delivery_id: String,
    /// The webhook.
    pub webhook_id: String,
    /// What is sent.
    pub payload: String,
    /// How many attempts there were, this one included.
    pub attempts: i64,
}

fn no_webhook(id: &str) -> StoreError {
    StoreError::NotFound(format!("Webhook with ID {id} not found."))
}

impl Store {
    /// Creates a webhook of that id, which [`WebhookChange`] describes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn create_webhook(&self, id: &str, new: WebhookChange) -> Result<Webhook> {
        let mut tx = self.write().await?;
        query(
            "INSERT INTO webhooks (webhook_id, name, description, url, secret, status, \
             creation_timestamp, last_updated_timestamp) VALUES ($1, $2, $3, $4, NULL, $5, $6, $6)",
        )
        .bind(id)
        .bind(new.name.as_deref().unwrap_or_default())
        .bind(&new.description)
        .bind(new.url.as_deref().unwrap_or_default())
        .bind(new.status.unwrap_or(WebhookStatus::Active).as_str())
        .bind(now())
        .execute(&mut tx)
        .await?;
        set_secret(&mut tx, id, new.secret).await?;
        set_events(&mut tx, id, &new.events.unwrap_or_default()).await?;
        let webhook = load(&mut tx, id).await?;
        tx.commit().await?;
        Ok(webhook)
    }

    /// Changes a webhook.
    ///
    /// # Errors
    /// When there is none.
    pub async fn update_webhook(&self, id: &str, change: WebhookChange) -> Result<Webhook> {
        let mut tx = self.write().await?;
        query(
            "UPDATE webhooks SET name = COALESCE($1, name), \
             description = COALESCE($2, description), url = COALESCE($3, url), \
             status = COALESCE($4, status), last_updated_timestamp = $5 WHERE webhook_id = $6",
        )
        .bind(&change.name)
        .bind(&change.description)
        .bind(&change.url)
        .bind(change.status.map(WebhookStatus::as_str))
        .bind(now())
        .bind(id)
        .execute(&mut tx)
        .await?;
        set_secret(&mut tx, id, change.secret).await?;
        if let Some(events) = change.events {
            query("DELETE FROM webhook_events WHERE webhook_id = $1")
                .bind(id)
                .execute(&mut tx)
                .await?;
            set_events(&mut tx, id, &events).await?;
        }
        let webhook = load(&mut tx, id).await?;
        tx.commit().await?;
        Ok(webhook)
    }

    /// Deletes a webhook, and what is still to be delivered to it.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_webhook(&self, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let deleted = query("DELETE FROM webhooks WHERE webhook_id = $1")
            .bind(id)
            .execute(&mut tx)
            .await?;
        if deleted == 0 {
            return Err(no_webhook(id));
        }
        tx.commit().await?;
        Ok(())
    }

    /// The webhook of that id.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get_webhook(&self, id: &str) -> Result<Webhook> {
        load(&mut self.read().await?, id).await
    }

    /// Webhooks, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_webhooks(&self, page: PageRequest) -> Result<Page<Webhook>> {
        let mut connection = self.read().await?;
        let mut query = QueryBuilder::new(&connection, "SELECT ");
        query
            .push(COLUMNS)
            .push(" FROM webhooks r ORDER BY r.creation_timestamp DESC, r.webhook_id LIMIT ")
            .push_bind(page.limit());
        query.push(" OFFSET ").push_bind(page.offset());
        let rows: Vec<Row> = query.build().fetch_all(&mut connection).await?;
        let page = page.page(rows);
        Ok(Page {
            items: with_events(&mut connection, page.items).await?,
            next_page_token: page.next_page_token,
        })
    }

    /// Where a webhook sends to.
    ///
    /// # Errors
    /// When there is none.
    pub async fn webhook_target(&self, id: &str) -> Result<WebhookTarget> {
        query("SELECT webhook_id, url, secret FROM webhooks WHERE webhook_id = $1")
            .bind(id)
            .fetch_optional(&mut self.read().await?)
            .await?
            .ok_or_else(|| no_webhook(id))
    }

    /// The active webhooks that want one of these kinds of change: (webhook, entity).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhooks_for(
        &self,
        entities: &[WebhookEntity],
        action: WebhookAction,
    ) -> Result<Vec<(String, String)>> {
        let mut connection = self.read().await?;
        let mut query = QueryBuilder::new(
            &connection,
            "SELECT e.webhook_id, e.entity FROM webhook_events e \
             JOIN webhooks w ON w.webhook_id = e.webhook_id \
             WHERE w.status = 'ACTIVE' AND e.action = ",
        );
        query.push_bind(action.as_str()).push(" AND e.entity");
        let entities: Vec<String> = entities.iter().map(|e| e.as_str().to_owned()).collect();
        query.push_in(&entities).push(" ORDER BY e.webhook_id");
        Ok(query.build().fetch_all(&mut connection).await?)
    }

    /// Puts what is to be sent into the queue; whether there was room for it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn enqueue_delivery(
        &self,
        delivery_id: &str,
        webhook_id: &str,
        payload: &str,
    ) -> Result<bool> {
        let mut tx = self.write().await?;
        let added = query(
            "INSERT INTO webhook_deliveries (delivery_id, webhook_id, payload, attempts, \
             next_attempt) SELECT $1, webhook_id, $2, 0, $3 FROM webhooks WHERE webhook_id = $4 \
             AND (SELECT COUNT(*) FROM webhook_deliveries) < $5",
        )
        .bind(delivery_id)
        .bind(payload)
        .bind(now())
        .bind(webhook_id)
        .bind(MAX_WAITING)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(added > 0)
    }

    /// Takes deliveries whose time has come, at most `limit`; nobody else gets them for `lease_ms`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_deliveries(&self, limit: i64, lease_ms: i64) -> Result<Vec<Delivery>> {
        // Most of the time there is none, and looking disturbs no writer.
        let waiting: Option<(String,)> =
            query("SELECT delivery_id FROM webhook_deliveries WHERE next_attempt <= $1 LIMIT 1")
                .bind(now())
                .fetch_optional(&mut self.read().await?)
                .await?;
        if waiting.is_none() {
            return Ok(Vec::new());
        }
        let mut tx = self.write().await?;
        // The time is asked for twice: who waited for another's update looks at the row again.
        let claimed = query(
            "UPDATE webhook_deliveries SET next_attempt = $1, attempts = attempts + 1 \
             WHERE next_attempt <= $2 AND delivery_id IN (SELECT delivery_id \
             FROM webhook_deliveries WHERE next_attempt <= $2 \
             ORDER BY next_attempt, delivery_id LIMIT $3) \
             RETURNING delivery_id, webhook_id, payload, attempts",
        )
        .bind(now().saturating_add(lease_ms))
        .bind(now())
        .bind(limit)
        .fetch_all(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(claimed)
    }

    /// Takes a delivery out of the queue, or (with a delay) puts it off.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle_delivery(&self, delivery_id: &str, again_in_ms: Option<i64>) -> Result<()> {
        let mut tx = self.write().await?;
        match again_in_ms {
            None => {
                query("DELETE FROM webhook_deliveries WHERE delivery_id = $1").bind(delivery_id)
            }
            Some(delay) => {
                query("UPDATE webhook_deliveries SET next_attempt = $1 WHERE delivery_id = $2")
                    .bind(now().saturating_add(delay))
                    .bind(delivery_id)
            }
        }
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The server's key of that name: `fresh` where there is none yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn server_key(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>> {
        let mut tx = self.write().await?;
        query("INSERT INTO server_keys (name, key) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(fresh)
            .execute(&mut tx)
            .await?;
        let (key,): (Vec<u8>,) = query("SELECT key FROM server_keys WHERE name = $1")
            .bind(name)
            .fetch_one(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(key)
    }
}

async fn set_secret(connection: &mut Conn, id: &str, secret: Option<Vec<u8>>) -> Result<()> {
    let Some(secret) = secret else {
        return Ok(());
    };
    if secret.is_empty() {
        query("UPDATE webhooks SET secret = NULL WHERE webhook_id = $1").bind(id)
    } else {
        query("UPDATE webhooks SET secret = $1 WHERE webhook_id = $2")
            .bind(secret)
            .bind(id)
    }
    .execute(connection)
    .await?;
    Ok(())
}

async fn set_events(
    connection: &mut Conn,
    id: &str,
    events: &[(WebhookEntity, WebhookAction)],
) -> Result<()> {
    for (position, (entity, action)) in (0_i64..).zip(events) {
        query(
            "INSERT INTO webhook_events (webhook_id, entity, action, position) \
             SELECT webhook_id, $1, $2, $3 FROM webhooks WHERE webhook_id = $4 \
             ON CONFLICT DO NOTHING",
        )
        .bind(entity.as_str())
        .bind(action.as_str())
        .bind(position)
        .bind(id)
        .execute(connection)
        .await?;
    }
    Ok(())
}

async fn load(connection: &mut Conn, id: &str) -> Result<Webhook> {
    let mut query = QueryBuilder::new(connection, "SELECT ");
    query
        .push(COLUMNS)
        .push(" FROM webhooks r WHERE r.webhook_id = ")
        .push_bind(id);
    let row: Option<Row> = query.build().fetch_optional(connection).await?;
    let row = row.ok_or_else(|| no_webhook(id))?;
    Ok(with_events(connection, vec![row]).await?.remove(0))
}

async fn with_events(connection: &mut Conn, rows: Vec<Row>) -> Result<Vec<Webhook>> {
    let ids: Vec<String> = rows.iter().map(|row| row.webhook_id.clone()).collect();
    let mut events: HashMap<String, Vec<WebhookEvent>> = HashMap::new();
    for chunk in ids.chunks(CHUNK) {
        let mut query = QueryBuilder::new(
            connection,
            "SELECT webhook_id, entity, action FROM webhook_events WHERE webhook_id",
        );
        query.push_in(chunk).push(" ORDER BY webhook_id, position");
        let found: Vec<(String, String, String)> = query.build().fetch_all(connection).await?;
        for (webhook_id, entity, action) in found {
            events.entry(webhook_id).or_default().push(WebhookEvent {
                entity: WebhookEntity::from_name(&entity),
                action: WebhookAction::from_name(&action),
            });
        }
    }
    Ok(rows
        .into_iter()
        .map(|row| Webhook {
            events: events.remove(&row.webhook_id).unwrap_or_default(),
            webhook_id: row.webhook_id,
            name: row.name,
            description: row.description,
            url: row.url,
            status: WebhookStatus::from_name(&row.status),
            creation_timestamp: row.creation_timestamp,
            last_updated_timestamp: row.last_updated_timestamp,
        })
        .collect())
}
