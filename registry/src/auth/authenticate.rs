//! From an `Authorization` header to a [`Principal`].

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio_util::sync::CancellationToken;

use super::cache::{LoginKey, Logins};
use super::{Principal, password, token};
use crate::http::{Buckets, Slots};
use crate::store::{Store, StoreError, UserRecord};
use crate::telemetry::Telemetry;

/// How often the database is asked whether something about users changed.
const WATCH: Duration = Duration::from_secs(2);
/// Failed logins that one client address has at once, and how many come back each second.
const CLIENT_FAILURES: (f64, f64) = (20.0, 0.2);
/// The same of one user name, from wherever.
const USER_FAILURES: (f64, f64) = (50.0, 0.5);
/// How many logins may wait to be verified.
const MOST_WAITING: usize = 64;

/// Recognizes users.
#[derive(Debug)]
pub(crate) struct Auth {
    store: Store,
    telemetry: Arc<Telemetry>,
    /// Whether there were users once; that never ends while the server runs.
    on: AtomicBool,
    /// Grows in the database when something about users changes.
    version: AtomicI64,
    logins: Logins,
    client_failures: Buckets<IpAddr>,
    user_failures: Buckets<String>,
    waiting: Slots,
}

/// Why nobody was recognized.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// No credentials, or wrong ones.
    Unauthenticated,
    /// Too many wrong ones; the next attempt may come after this.
    TooMany(Duration),
    /// Too many logins wait already.
    Busy,
    /// The database failed.
    Failed(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// What can be said of a request without waiting.
pub(crate) enum Known {
    /// There are no users: it may do everything.
    Anyone,
    /// It is this user.
    User(Arc<Principal>),
    /// It has to be asked for.
    NotYet,
}

enum Credentials {
    Basic { name: String, password: String },
    Bearer(String),
}

impl Auth {
    pub(crate) async fn open(
        store: Store,
        telemetry: Arc<Telemetry>,
        ttl: Duration,
    ) -> Result<Self, StoreError> {
        let state = store.auth_state().await?;
        Ok(Self {
            on: AtomicBool::new(state.has_users),
            version: AtomicI64::new(state.version),
            store,
            telemetry,
            logins: Logins::new(ttl),
            client_failures: Buckets::new(CLIENT_FAILURES.0, CLIENT_FAILURES.1),
            user_failures: Buckets::new(USER_FAILURES.0, USER_FAILURES.1),
            waiting: Slots::new(MOST_WAITING),
        })
    }

    /// Whether users have to say who they are.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Another number than before when something about users changed.
    pub(crate) fn version(&self) -> i64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Notices, until `stop`, what other processes change about users.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(WATCH);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.refresh().await {
                // What is remembered ends by itself.
                tracing::warn!(%error, "can't see whether users changed");
            }
        }
    }

    /// Looks whether something about users changed, and forgets logins if so.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let state = self.store.auth_state().await?;
        if state.has_users && !self.on.swap(true, Ordering::Relaxed) {
            tracing::info!("there are users now: requests have to name one");
        }
        if self.version.swap(state.version, Ordering::Relaxed) != state.version {
            self.logins.clear();
        }
        Ok(())
    }

    /// What can be said without waiting: nothing is asked, nothing is hashed slowly.
    pub(crate) fn known(&self, headers: &HeaderMap) -> Known {
        if !self.is_on() {
            return Known::Anyone;
        }
        headers
            .get(AUTHORIZATION)
            .and_then(|value| self.logins.get(&self.logins.key(value.as_bytes())))
            .map_or(Known::NotYet, Known::User)
    }

    /// Verifies the credentials of a request that [`Self::known`] doesn't know.
    pub(crate) async fn login(
        &self,
        headers: &HeaderMap,
        client: IpAddr,
    ) -> Result<Arc<Principal>, Refusal> {
        let header = headers
            .get(AUTHORIZATION)
            .ok_or(Refusal::Unauthenticated)?
            .as_bytes();
        let credentials = read(header).ok_or(Refusal::Unauthenticated)?;
        self.client_failures
            .check(&client)
            .map_err(Refusal::TooMany)?;
        let key = self.logins.key(header);
        let result = match credentials {
            Credentials::Bearer(token) => self.login_by_token(key, &token).await,
            Credentials::Basic { name, password } => {
                self.login_by_password(key, name, password).await
            }
        };
        self.telemetry.login(match &result {
            Ok(_) => "accepted",
            Err(Refusal::Unauthenticated) => "refused",
            Err(_) => "not verified",
        });
        if matches!(result, Err(Refusal::Unauthenticated)) {
            tracing::warn!(%client, "login refused");
            // The bucket was not empty when this began; that it may be now is for the next one.
            self.client_failures.take(client).ok();
        }
        result
    }

    async fn login_by_token(&self, key: LoginKey, token: &str) -> Result<Arc<Principal>, Refusal> {
        if !token::is_token(token) {
            return Err(Refusal::Unauthenticated);
        }
        let epoch = self.logins.epoch();
        let (user, left) = self
            .store
            .user_by_token(&token::hash(token))
            .await?
            .ok_or(Refusal::Unauthenticated)?;
        self.remember(key, user, left, epoch).await
    }

    async fn login_by_password(
        &self,
        key: LoginKey,
        name: String,
        password: String,
    ) -> Result<Arc<Principal>, Refusal> {
        self.user_failures.check(&name).map_err(Refusal::TooMany)?;
        let _waiting = self.waiting.take().ok_or(Refusal::Busy)?;
        let _turn = password::turn().await;
        // Many requests of one client begin at once; the first of them did the work.
        if let Some(principal) = self.logins.get(&key) {
            return Ok(principal);
        }
        let epoch = self.logins.epoch();
        let user = self.store.user_by_name(&name).await?;
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let verified = password::verify(password, hash).await;
        match user {
            Some(user) if verified => self.remember(key, user, None, epoch).await,
            _ => {
                self.user_failures.take(name).ok();
                Err(Refusal::Unauthenticated)
            }
        }
    }

    async fn remember(
        &self,
        key: LoginKey,
        user: UserRecord,
        at_most: Option<Duration>,
        epoch: u64,
    ) -> Result<Arc<Principal>, Refusal> {
        let principal = Arc::new(Principal {
            grants: self.store.grants_of(user.user_id).await?,
            user_id: user.user_id,
            name: user.name,
            role: user.role,
        });
        self.logins
            .insert(key, Arc::clone(&principal), at_most, epoch);
        Ok(principal)
    }
}

/// What a header says; absent when it says nothing that is known here.
fn read(header: &[u8]) -> Option<Credentials> {
    let text = std::str::from_utf8(header).ok()?;
    let (scheme, rest) = text.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Bearer(rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some(Credentials::Basic {
        name: name.to_owned(),
        password: password.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_clients_send_them() {
        let basic = |text: &str| match read(text.as_bytes()) {
            Some(Credentials::Basic { name, password }) => Some((name, password)),
            _ => None,
        };
        let expected = Some(("ann".to_owned(), "a:b".to_owned()));
        assert_eq!(basic("Basic YW5uOmE6Yg=="), expected);
        assert_eq!(basic("basic  YW5uOmE6Yg=="), expected);
        for bad in ["", "Basic", "Basic !", "Basic YW5u", "Digest YW5uOmE6Yg=="] {
            assert!(read(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(matches!(
            read(b"Bearer fsr_x"),
            Some(Credentials::Bearer(token)) if token == "fsr_x"
        ));
    }
}
