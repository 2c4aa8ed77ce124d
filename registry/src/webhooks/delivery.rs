//! Sending: one attempt, and the task that makes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use futures::future::join_all;
use reqwest::Url;
use ring::hmac;
use tokio_util::sync::CancellationToken;

use super::{TIMEOUT, Webhooks};
use crate::store::Delivery;

/// Attempts under way at once, of one replica.
const AT_ONCE: i64 = 10;
/// Attempts before a delivery is given up.
const ATTEMPTS: i64 = 4;
/// The longest wait before the next attempt.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// How often the queue is looked at when nobody says that there is something in it: what another
/// replica left, and what is due again.
const LOOK: Duration = Duration::from_secs(1);
/// How long attempts under way may take after the stop was asked for.
const DRAIN: Duration = Duration::from_secs(5);
/// As much of an answer as is read.
const MAX_ANSWER: usize = 64 * 1024;

/// A receiver's answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    /// How long the receiver asks to be left alone.
    retry_after: Option<Duration>,
}

/// The signature of a message: of its id, its time and its text.
fn sign(secret: &[u8], delivery_id: &str, timestamp: &str, payload: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let content = format!("{delivery_id}.{timestamp}.{payload}");
    let tag = hmac::sign(&key, content.as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

/// Makes one attempt.
///
/// # Errors
/// When there is no answer; the text says why.
pub(super) async fn send(
    client: &reqwest::Client,
    url: Url,
    secret: Option<&[u8]>,
    delivery_id: &str,
    payload: String,
) -> Result<Answer, String> {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let timestamp = seconds.to_string();
    let mut request = client
        .post(url)
        .header("Content-Type", "application/json")
        .header("X-MLflow-Delivery-Id", delivery_id)
        .header("X-MLflow-Timestamp", &timestamp);
    if let Some(secret) = secret {
        let signature = sign(secret, delivery_id, &timestamp, &payload);
        request = request.header("X-MLflow-Signature", signature);
    }
    let response = request.body(payload).send().await.map_err(why)?;
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get("Retry-After")
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while body.len() < MAX_ANSWER {
        let Some(Ok(chunk)) = chunks.next().await else {
            break;
        };
        body.extend_from_slice(&chunk);
    }
    body.truncate(MAX_ANSWER);
    Ok(Answer {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
        retry_after,
    })
}

/// An error in words, without the URL, which may hold a password.
fn why(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What comes after an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Done,
    GiveUp,
    Again(Duration),
}

fn next(attempts: i64, outcome: &Result<Answer, String>) -> Next {
    let may_pass = match outcome {
        Ok(answer) => matches!(answer.status, 429 | 500 | 502 | 503 | 504),
        Err(_) => true,
    };
    if !may_pass {
        return match outcome {
            Ok(answer) if answer.status < 400 => Next::Done,
            _ => Next::GiveUp,
        };
    }
    if attempts >= ATTEMPTS {
        return Next::GiveUp;
    }
    let doubled = Duration::from_secs(1 << attempts.clamp(1, 6) >> 1);
    let asked = outcome.as_ref().ok().and_then(|answer| answer.retry_after);
    Next::Again(asked.unwrap_or(doubled).min(MAX_DELAY))
}

impl Webhooks {
    /// Sends what is in the queue until `shutdown`.
    pub(crate) async fn run(&self, shutdown: CancellationToken) {
        let lease = i64::try_from((TIMEOUT * 2).as_millis()).unwrap_or(i64::MAX);
        while !shutdown.is_cancelled() {
            let claimed = match self.store.claim_deliveries(AT_ONCE, lease).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the queue of webhook deliveries can't be read"
                    );
                    Vec::new()
                }
            };
            if claimed.is_empty() {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(LOOK) => {}
                }
                continue;
            }
            let attempts = join_all(claimed.into_iter().map(|delivery| self.attempt(delivery)));
            let stopped = async {
                shutdown.cancelled().await;
                tokio::time::sleep(DRAIN).await;
            };
            tokio::select! {
                _ = attempts => {}
                // What is not settled by then is due again when its lease ends.
                () = stopped => {}
            }
        }
    }

    async fn attempt(&self, delivery: Delivery) {
        let id = &delivery.delivery_id;
        let outcome = match self.store.webhook_target(&delivery.webhook_id).await {
            Ok(target) => self.send(&target, id, delivery.payload).await,
            // Deleted meanwhile, and the delivery with it; or the database is busy.
            Err(error) => Err(error.to_string()),
        };
        let again = match next(delivery.attempts, &outcome) {
            Next::Done => None,
            Next::GiveUp => {
                tracing::error!(
                    webhook.id = delivery.webhook_id,
                    delivery.id = id,
                    attempts = delivery.attempts,
                    outcome = ?outcome.as_ref().map(|answer| answer.status),
                    "a webhook delivery was given up"
                );
                None
            }
            Next::Again(delay) => Some(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)),
        };
        if let Err(error) = self.store.settle_delivery(id, again).await {
            tracing::error!(
                delivery.id = id,
                error = &error as &dyn std::error::Error,
                "a webhook delivery can't be settled; it will be sent again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_reference() {
        // Made by MLflow's own function.
        assert_eq!(
            sign(b"secret", "id-1", "1700000000", r#"{"a": 1}"#),
            "v1,jAyhWuvJRcQMVbD7m4Iar2/4+6HricjeksyI87v/Tkk="
        );
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let answer = |status, retry_after| {
            Ok(Answer {
                status,
                body: String::new(),
                retry_after,
            })
        };
        let seconds = Duration::from_secs;
        assert_eq!(next(1, &answer(204, None)), Next::Done);
        assert_eq!(next(1, &answer(302, None)), Next::Done);
        assert_eq!(next(1, &answer(404, None)), Next::GiveUp);
        assert_eq!(next(1, &answer(503, None)), Next::Again(seconds(1)));
        assert_eq!(next(3, &answer(500, None)), Next::Again(seconds(4)));
        assert_eq!(
            next(1, &answer(429, Some(seconds(7)))),
            Next::Again(seconds(7))
        );
        assert_eq!(
            next(1, &answer(429, Some(seconds(7000)))),
            Next::Again(MAX_DELAY)
        );
        assert_eq!(next(2, &Err("refused".to_owned())), Next::Again(seconds(2)));
        assert_eq!(next(ATTEMPTS, &Err("refused".to_owned())), Next::GiveUp);
    }
}
