//! Users.

use super::db::{Conn, query};
use super::error::unique;
use super::{Result, Store, StoreError, now};
use crate::auth::Role;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// The id, which is never given twice.
    pub user_id: i64,
    /// The name, which they log in with.
    pub name: String,
    /// argon2id, in the PHC format.
    pub password_hash: String,
    /// What they may do where no grant says otherwise.
    pub role: Role,
    /// When they were added, in ms since the epoch.
    pub created_at: i64,
}

/// What tells whether logins have to be verified again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AuthState {
    pub(crate) has_users: bool,
    pub(crate) version: i64,
}

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    user_id: i64,
    name: String,
    password_hash: String,
    role: String,
    created_at: i64,
}

impl Row {
    pub(super) fn into_user(self) -> UserRecord {
        UserRecord {
            user_id: self.user_id,
            name: self.name,
            password_hash: self.password_hash,
            role: role(&self.role),
            created_at: self.created_at,
        }
    }
}

/// A role that the database holds; what is none gives nothing.
pub(super) fn role(text: &str) -> Role {
    text.parse().unwrap_or(Role::None)
}

fn no_user(name: &str) -> StoreError {
    StoreError::NotFound(format!("User with username={name} not found"))
}

/// Tells all replicas that something about users changed.
pub(super) async fn touch(conn: &mut Conn) -> Result<()> {
    query("UPDATE counters SET value = value + 1 WHERE name = 'auth_version'")
        .execute(conn)
        .await?;
    Ok(())
}

/// The user of that name.
pub(super) async fn find(conn: &mut Conn, name: &str) -> Result<UserRecord> {
    let row: Option<Row> =
        query("SELECT user_id, name, password_hash, role, created_at FROM users WHERE name = $1")
            .bind(name)
            .fetch_optional(conn)
            .await?;
    row.map(Row::into_user).ok_or_else(|| no_user(name))
}

/// Refuses to leave users without an admin: nobody could manage them over the network any more.
async fn check_admins(conn: &mut Conn, without: i64) -> Result<()> {
    let (others, admins): (i64, i64) = query(
        "SELECT COUNT(*), COUNT(CASE WHEN role = 'admin' THEN 1 END) FROM users \
         WHERE user_id <> $1",
    )
    .bind(without)
    .fetch_one(conn)
    .await?;
    if others > 0 && admins == 0 {
        return Err(StoreError::State(
            "This is the last admin; make another user one first.".to_owned(),
        ));
    }
    Ok(())
}

impl Store {
    pub(crate) async fn auth_state(&self) -> Result<AuthState> {
        let (version, has_users): (i64, i64) = query(
            "SELECT value, CASE WHEN EXISTS (SELECT 1 FROM users) THEN CAST(1 AS BIGINT) \
             ELSE CAST(0 AS BIGINT) END FROM counters WHERE name = 'auth_version'",
        )
        .fetch_one(&mut self.read().await?)
        .await?;
        Ok(AuthState {
            has_users: has_users != 0,
            version,
        })
    }

    /// Whether there are users, so that requests have to name one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_users(&self) -> Result<bool> {
        Ok(self.auth_state().await?.has_users)
    }

    /// Adds a user; `password_hash` is what [`crate::auth::hash_password`] gives.
    ///
    /// # Errors
    /// When there is one of that name, or the name can't be one.
    pub async fn create_user(
        &self,
        name: &str,
        password_hash: &str,
        role: Role,
    ) -> Result<UserRecord> {
        let sane = !name.is_empty()
            && name.len() <= 255
            && !name.contains(':')
            && !name.chars().any(char::is_control);
        if !sane {
            return Err(StoreError::Invalid(format!(
                "Invalid user name '{name}': it has 1 to 255 bytes, no colon and no control \
                 character"
            )));
        }
        let mut tx = self.write().await?;
        let (user_id,): (i64,) =
            query("UPDATE counters SET value = value + 1 WHERE name = 'user' RETURNING value")
                .fetch_one(&mut tx)
                .await?;
        let created_at = now();
        query(
            "INSERT INTO users (user_id, name, password_hash, role, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $5)",
        )
        .bind(user_id)
        .bind(name)
        .bind(password_hash)
        .bind(role.as_str())
        .bind(created_at)
        .execute(&mut tx)
        .await
        .map_err(|error| unique(error, || format!("User (username={name}) already exists.")))?;
        touch(&mut tx).await?;
        tx.commit().await?;
        Ok(UserRecord {
            user_id,
            name: name.to_owned(),
            password_hash: password_hash.to_owned(),
            role,
            created_at,
        })
    }

    /// The user of that name.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get_user(&self, name: &str) -> Result<UserRecord> {
        find(&mut self.read().await?, name).await
    }

    pub(crate) async fn user_by_name(&self, name: &str) -> Result<Option<UserRecord>> {
        match self.get_user(name).await {
            Ok(user) => Ok(Some(user)),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All users, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_users(&self) -> Result<Vec<UserRecord>> {
        let rows: Vec<Row> =
            query("SELECT user_id, name, password_hash, role, created_at FROM users ORDER BY name")
                .fetch_all(&mut self.read().await?)
                .await?;
        Ok(rows.into_iter().map(Row::into_user).collect())
    }

    /// Changes a user's password; their tokens stay.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn set_user_password(&self, name: &str, password_hash: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let user = find(&mut tx, name).await?;
        query("UPDATE users SET password_hash = $2, updated_at = $3 WHERE user_id = $1")
            .bind(user.user_id)
            .bind(password_hash)
            .bind(now())
            .execute(&mut tx)
            .await?;
        touch(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// Changes what a user may do where no grant says otherwise.
    ///
    /// # Errors
    /// When there is none of that name, or it is the last admin.
    pub async fn set_user_role(&self, name: &str, role: Role) -> Result<()> {
        let mut tx = self.write().await?;
        touch(&mut tx).await?;
        let user = find(&mut tx, name).await?;
        if user.role == Role::Admin && role != Role::Admin {
            check_admins(&mut tx, user.user_id).await?;
        }
        query("UPDATE users SET role = $2, updated_at = $3 WHERE user_id = $1")
            .bind(user.user_id)
            .bind(role.as_str())
            .bind(now())
            .execute(&mut tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Deletes a user with their grants and tokens.
    ///
    /// # Errors
    /// When there is none of that name, or it is the last admin and there are others.
    pub async fn delete_user(&self, name: &str) -> Result<()> {
        let mut tx = self.write().await?;
        // First, so that two that delete admins at once take turns.
        touch(&mut tx).await?;
        let user = find(&mut tx, name).await?;
        if user.role == Role::Admin {
            check_admins(&mut tx, user.user_id).await?;
        }
        query("DELETE FROM users WHERE user_id = $1")
            .bind(user.user_id)
            .execute(&mut tx)
            .await?;
        Ok(tx.commit().await?)
    }
}
