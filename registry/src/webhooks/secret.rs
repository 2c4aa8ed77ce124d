//! Secrets of webhooks as they are kept: AES-256-GCM, each bound to its webhook.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

/// As long as a key is.
pub(super) const KEY: usize = 32;

/// Encrypts and decrypts secrets.
pub(super) struct Cipher {
    key: LessSafeKey,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher")
    }
}

/// What can't be encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct SecretError(&'static str);

/// Reads a key as MLflow's users have them: 32 bytes in URL-safe base64.
///
/// # Errors
/// When it is none.
pub(super) fn read_key(text: &str) -> Result<Vec<u8>, SecretError> {
    let wrong = SecretError("the key must be 32 bytes in URL-safe base64");
    let key = URL_SAFE.decode(text.trim()).ok();
    key.filter(|key| key.len() == KEY).ok_or(wrong)
}

/// Fresh bytes.
///
/// # Errors
/// When the system has none.
pub(super) fn random<const N: usize>() -> Result<[u8; N], SecretError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| SecretError("the system gives no random bytes"))?;
    Ok(bytes)
}

impl Cipher {
    pub(super) fn new(key: &[u8]) -> Result<Self, SecretError> {
        let key = UnboundKey::new(&AES_256_GCM, key)
            .map_err(|_| SecretError("the key must have 32 bytes"))?;
        Ok(Self {
            key: LessSafeKey::new(key),
        })
    }

    /// The nonce and what is encrypted with it; of an empty secret, nothing.
    pub(super) fn seal(&self, webhook_id: &str, secret: &str) -> Result<Vec<u8>, SecretError> {
        if secret.is_empty() {
            return Ok(Vec::new());
        }
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut sealed = secret.as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(webhook_id.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| SecretError("the secret can't be encrypted"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub(super) fn open(&self, webhook_id: &str, sealed: &[u8]) -> Result<Vec<u8>, SecretError> {
        let wrong = || SecretError("the webhook's secret was encrypted with another key");
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
        let mut opened = sealed.to_vec();
        let length = self
            .key
            .open_in_place(nonce, Aad::from(webhook_id.as_bytes()), &mut opened)
            .map_err(|_| wrong())?
            .len();
        opened.truncate(length);
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_with_its_key_for_its_webhook_only() {
        let cipher = Cipher::new(&[7; KEY]).unwrap();
        let sealed = cipher.seal("a", "s3cret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"s3cret"));
        assert_ne!(sealed, cipher.seal("a", "s3cret").unwrap());
        assert_eq!(cipher.open("a", &sealed).unwrap(), b"s3cret");
        assert!(cipher.open("b", &sealed).is_err());
        assert!(Cipher::new(&[8; KEY]).unwrap().open("a", &sealed).is_err());
        assert!(cipher.open("a", b"short").is_err());
        assert!(cipher.seal("a", "").unwrap().is_empty());
        assert!(read_key("tooshort").is_err());
        assert_eq!(read_key(&URL_SAFE.encode([1; KEY])).unwrap(), [1; KEY]);
    }
}
