//! Tokens: what the database keeps of them is a hash.

use std::time::Duration;

use super::db::query;
use super::users::{Row, UserRecord, find, touch};
use super::{Result, Store, StoreError, now};
use crate::auth::Secret;

/// A token, without the token.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct TokenRecord {
    /// The id, to revoke it by.
    pub token_id: String,
    /// The user that it stands for.
    pub user_name: String,
    /// What its owner calls it.
    pub name: String,
    /// When it was made, in ms since the epoch.
    pub created_at: i64,
    /// When it ends.
    pub expires_at: Option<i64>,
    /// When it was ended.
    pub revoked_at: Option<i64>,
}

impl Store {
    /// Makes a token for a user; the secret is told this once.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn create_token(
        &self,
        user: &str,
        name: &str,
        ttl: Option<Duration>,
    ) -> Result<(TokenRecord, Secret)> {
        let secret = Secret::new();
        let created_at = now();
        let record = TokenRecord {
            token_id: uuid::Uuid::new_v4().simple().to_string(),
            user_name: user.to_owned(),
            name: name.to_owned(),
            created_at,
            expires_at: ttl.map(|ttl| {
                created_at.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX))
            }),
            revoked_at: None,
        };
        let mut tx = self.write().await?;
        let user_id = find(&mut tx, user).await?.user_id;
        query(
            "INSERT INTO tokens (token_id, user_id, name, hash, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&record.token_id)
        .bind(user_id)
        .bind(name)
        .bind(secret.hash())
        .bind(created_at)
        .bind(record.expires_at)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok((record, secret))
    }

    /// The tokens of one user, or of all, the newest first.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn list_tokens(&self, user: Option<&str>) -> Result<Vec<TokenRecord>> {
        let mut connection = self.read().await?;
        if let Some(name) = user {
            find(&mut connection, name).await?;
        }
        Ok(query(
            "SELECT t.token_id, u.name AS user_name, t.name, t.created_at, t.expires_at, \
             t.revoked_at FROM tokens t JOIN users u ON u.user_id = t.user_id \
             WHERE $1 IS NULL OR u.name = $1 ORDER BY t.created_at DESC, t.token_id",
        )
        .bind(user)
        .fetch_all(&mut connection)
        .await?)
    }

    /// Ends a token; one that was ended stays so.
    ///
    /// # Errors
    /// When there is none of that id.
    pub async fn revoke_token(&self, token_id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        touch(&mut tx).await?;
        let changed =
            query("UPDATE tokens SET revoked_at = COALESCE(revoked_at, $2) WHERE token_id = $1")
                .bind(token_id)
                .bind(now())
                .execute(&mut tx)
                .await?;
        if changed == 0 {
            return Err(StoreError::NotFound(format!(
                "There is no token with id={token_id}"
            )));
        }
        Ok(tx.commit().await?)
    }

    /// The user that a token stands for, and how long it still does; absent when it is none, or
    /// has ended.
    pub(crate) async fn user_by_token(
        &self,
        hash: &[u8],
    ) -> Result<Option<(UserRecord, Option<Duration>)>> {
        let mut connection = self.read().await?;
        let now = now();
        let token: Option<(i64, Option<i64>)> = query(
            "SELECT user_id, expires_at FROM tokens WHERE hash = $1 AND revoked_at IS NULL \
             AND (expires_at IS NULL OR expires_at > $2)",
        )
        .bind(hash)
        .bind(now)
        .fetch_optional(&mut connection)
        .await?;
        let Some((user_id, expires_at)) = token else {
            return Ok(None);
        };
        let user: Option<Row> = query(
            "SELECT user_id, name, password_hash, role, created_at FROM users WHERE user_id = $1",
        )
        .bind(user_id)
        .fetch_optional(&mut connection)
        .await?;
        let left = expires_at.map(|end| {
            Duration::from_millis(u64::try_from(end.saturating_sub(now)).unwrap_or_default())
        });
        Ok(user.map(|row| (row.into_user(), left)))
    }
}
