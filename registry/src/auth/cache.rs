//! Logins that were verified a short while ago.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::Principal;

/// How many logins are remembered.
const MOST: usize = 10_000;

/// A login, without what was sent: a hash under a key that only this process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LoginKey([u8; 32]);

#[derive(Debug)]
struct Entry {
    principal: Arc<Principal>,
    until: Instant,
}

/// Logins that were verified a short while ago.
#[derive(Debug)]
pub(super) struct Logins {
    key: [u8; 32],
    ttl: Duration,
    known: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<LoginKey, Entry>,
    /// Grows when something about users changes; what was verified before must not enter.
    epoch: u64,
}

impl Logins {
    pub(super) fn new(ttl: Duration) -> Self {
        let mut key = [0; 32];
        key[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        key[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        Self {
            key,
            ttl,
            known: RwLock::default(),
        }
    }

    pub(super) fn key(&self, credentials: &[u8]) -> LoginKey {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update(credentials);
        LoginKey(hash.finalize().into())
    }

    pub(super) fn get(&self, key: &LoginKey) -> Option<Arc<Principal>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entries.get(key)?;
        (Instant::now() < entry.until).then(|| Arc::clone(&entry.principal))
    }

    /// To be given to [`Self::insert`] after the database was asked.
    pub(super) fn epoch(&self) -> u64 {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.epoch
    }

    /// Remembers a login, for `at_most` if that is shorter than usual.
    pub(super) fn insert(
        &self,
        key: LoginKey,
        principal: Arc<Principal>,
        at_most: Option<Duration>,
        epoch: u64,
    ) {
        let now = Instant::now();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.epoch != epoch {
            return;
        }
        if known.entries.len() >= MOST {
            known.entries.retain(|_, entry| now < entry.until);
            if known.entries.len() >= MOST {
                known.entries.clear();
            }
        }
        let until = now + at_most.map_or(self.ttl, |most| most.min(self.ttl));
        known.entries.insert(key, Entry { principal, until });
    }

    /// Forgets all, as something about users changed.
    pub(super) fn clear(&self) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.entries.clear();
        known.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Grants, Role};

    #[test]
    fn a_login_is_known_until_something_changes() {
        let logins = Logins::new(Duration::from_secs(60));
        let principal = Arc::new(Principal {
            user_id: 1,
            name: "ann".into(),
            role: Role::Reader,
            grants: Grants::default(),
        });
        let key = logins.key(b"Basic abc");
        logins.insert(key, Arc::clone(&principal), None, logins.epoch());
        assert!(logins.get(&key).is_some());
        assert!(logins.get(&logins.key(b"Basic abd")).is_none());
        let before = logins.epoch();
        logins.clear();
        assert!(logins.get(&key).is_none());
        // Verified before the change, remembered after it: too late.
        logins.insert(key, Arc::clone(&principal), None, before);
        assert!(logins.get(&key).is_none());
        logins.insert(key, principal, Some(Duration::ZERO), logins.epoch());
        assert!(logins.get(&key).is_none());
    }
}
