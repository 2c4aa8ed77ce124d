//! Who may send a part of an upload: whoever has the URL, as on S3.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The secret that URLs are signed with; replicas must have the same one.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    /// Bytes that nobody else has, to make a key of.
    #[must_use]
    pub fn fresh() -> [u8; 32] {
        // Two random UUIDs hold 244 bits from the system's own generator.
        let mut hash = Sha256::new();
        hash.update(uuid::Uuid::new_v4());
        hash.update(uuid::Uuid::new_v4());
        hash.finalize().into()
    }

    /// The key made of those bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    fn mac(&self, message: &str) -> Hmac<Sha256> {
        // A short key is filled up with zeros: so HMAC says.
        let mut key = [0; 64];
        key[..32].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&key.into());
        // What it is for, so that no other signature of this key can be taken for it.
        mac.update(b"artifact-part:");
        mac.update(message.as_bytes());
        mac
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// The right to send one part of one upload, until it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartToken {
    /// The upload.
    pub upload_id: String,
    /// The part's number, from 1.
    pub part: u16,
    /// Until when, in seconds since the epoch.
    expires: u64,
}

impl PartToken {
    /// A right that begins now.
    #[must_use]
    pub fn new(upload_id: &str, part: u16, lifetime: Duration) -> Self {
        Self {
            upload_id: upload_id.to_owned(),
            part,
            expires: now().saturating_add(lifetime.as_secs()),
        }
    }

    /// The text of it for a URL.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        let mut text = self.message();
        let mac = key.mac(&text).finalize().into_bytes();
        text.push('.');
        for byte in mac {
            // Writing to a String can't fail.
            write!(text, "{byte:02x}").ok();
        }
        text
    }

    /// Reads a text; `None` when it was not signed with this key, or has expired.
    #[must_use]
    pub fn verify(text: &str, key: &SigningKey) -> Option<Self> {
        let (message, mac) = text.rsplit_once('.')?;
        key.mac(message).verify_slice(&from_hex(mac)?).ok()?;
        let (message, expires) = message.rsplit_once('.')?;
        let (upload_id, part) = message.rsplit_once('.')?;
        let token = Self {
            upload_id: upload_id.to_owned(),
            part: part.parse().ok()?,
            expires: expires.parse().ok()?,
        };
        (now() <= token.expires).then_some(token)
    }

    fn message(&self) -> String {
        format!("{}.{}.{}", self.upload_id, self.part, self.expires)
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(u64::MAX, |elapsed| elapsed.as_secs())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_is_taken() {
        let key = SigningKey::new(&SigningKey::fresh());
        let token = PartToken::new("abc", 7, Duration::from_secs(60));
        let text = token.sign(&key);
        assert_eq!(PartToken::verify(&text, &key), Some(token));
        assert_eq!(
            PartToken::verify(&text, &SigningKey::new(&SigningKey::fresh())),
            None
        );
        for at in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[at] = if forged[at] == b'1' { b'2' } else { b'1' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(PartToken::verify(&forged, &key), None, "{forged}");
        }
        for text in ["", ".", "...", "abc.7.99999999999.", "abc.7.1.ä"] {
            assert_eq!(PartToken::verify(text, &key), None, "{text}");
        }
    }

    #[test]
    fn it_expires() {
        let key = SigningKey::new(&[7; 32]);
        let mut token = PartToken::new("abc", 1, Duration::ZERO);
        token.expires -= 5;
        assert_eq!(PartToken::verify(&token.sign(&key), &key), None);
    }
}
