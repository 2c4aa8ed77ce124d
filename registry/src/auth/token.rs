//! Tokens: 256 random bits, of which the database keeps a hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// What every token begins with, so that scanners for leaked secrets can find it.
const PREFIX: &str = "fsr_";

/// A new token. It is shown once, and never by `Debug`.
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// A new one.
    pub(crate) fn new() -> Self {
        // Two random UUIDs have 244 random bits between them; hashed with a third nothing of their
        // fixed bits is left.
        let mut hash = Sha256::new();
        for _ in 0..3 {
            hash.update(uuid::Uuid::new_v4().as_bytes());
        }
        Self(format!(
            "{PREFIX}{}",
            URL_SAFE_NO_PAD.encode(hash.finalize())
        ))
    }

    /// The token itself, for the one who asked for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the database keeps of it.
    pub(crate) fn hash(&self) -> Vec<u8> {
        hash(&self.0)
    }
}

/// What the database keeps of a token. A fast hash does: 256 random bits can't be guessed.
pub(crate) fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// Whether it may be one of ours; others needn't be looked for.
pub(crate) fn is_token(text: &str) -> bool {
    text.starts_with(PREFIX) && text.len() == PREFIX.len() + 43
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_unlike_and_never_shown() {
        let (a, b) = (Secret::new(), Secret::new());
        assert!(is_token(a.reveal()) && a.reveal() != b.reveal());
        assert_eq!(a.hash(), hash(a.reveal()));
        assert!(!format!("{a:?}").contains(&a.reveal()[4..]));
    }
}
