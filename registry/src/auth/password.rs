//! Passwords: argon2id, a few at a time.

use std::sync::LazyLock;

use argon2::Argon2;
use argon2::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

/// The shortest password that is taken.
const SHORTEST: usize = 8;
const LONGEST: usize = 1024;

/// How many are hashed at once, each in 19 MiB.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Compared with when there is no such user, so that this takes as long as when there is one.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| blocking_hash("nobody has this password").unwrap_or_default());

/// Why a password can't be set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasswordError {
    /// It is too short or too long.
    #[error("a password has {SHORTEST} to {LONGEST} bytes")]
    Length,
    /// It can't be hashed.
    #[error("the password can't be hashed")]
    Hash,
}

/// The hash of a password, in the PHC format: argon2id with a random salt.
///
/// # Errors
/// When the password is too short or too long.
pub async fn hash_password(password: String) -> Result<String, PasswordError> {
    if !(SHORTEST..=LONGEST).contains(&password.len()) {
        return Err(PasswordError::Length);
    }
    let _turn = TURNS.acquire().await;
    tokio::task::spawn_blocking(move || blocking_hash(&password))
        .await
        .unwrap_or(Err(PasswordError::Hash))
}

/// Whether `hash` is of `password`, when its turn comes.
pub(crate) async fn verify_password(password: String, hash: String) -> bool {
    let _turn = turn().await;
    verify(password, Some(hash)).await
}

/// Waits for the turn of one verification; what it gives must live until that is done.
pub(super) async fn turn() -> Option<tokio::sync::SemaphorePermit<'static>> {
    TURNS.acquire().await.ok()
}

/// Whether `hash` is of `password`; without a hash it takes as long and is not.
pub(super) async fn verify(password: String, hash: Option<String>) -> bool {
    let verified = tokio::task::spawn_blocking(move || {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.clone());
        let matches = password.len() <= LONGEST
            && PasswordHash::new(&hash).is_ok_and(|hash| {
                Argon2::default()
                    .verify_password(password.as_bytes(), &hash)
                    .is_ok()
            });
        known && matches
    });
    verified.await.unwrap_or(false)
}

fn blocking_hash(password: &str) -> Result<String, PasswordError> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|_| PasswordError::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_hash_only() {
        let hash = hash_password("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(verify("correct horse".into(), Some(hash.clone())).await);
        assert!(!verify("battery staple".into(), Some(hash)).await);
        assert!(!verify("nobody has this password".into(), None).await);
        assert_eq!(
            hash_password("short".into()).await,
            Err(PasswordError::Length)
        );
    }
}
