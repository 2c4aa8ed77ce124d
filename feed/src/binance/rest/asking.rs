//! One question and its answer: tried again while it may help, and never more often than the exchange wants.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::Rest;

/// How often the exchange may say "not now" to one request.
const PATIENCE: u32 = 50;
/// Where it doesn't say for how long.
const NOT_NOW: Duration = Duration::from_secs(60);
/// The longest wait between two tries, where nothing says how long.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A client that trusts the system's certificate authorities and perhaps one more.
pub(crate) fn http_client(ca: Option<&[u8]>, at_most: Option<Duration>) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(60))
        .user_agent(concat!("foreshock-feed/", env!("CARGO_PKG_VERSION")));
    if let Some(at_most) = at_most {
        builder = builder.timeout(at_most);
    }
    for certificate in reqwest::Certificate::from_pem_bundle(ca.unwrap_or_default())
        .context("the --ca file holds no readable certificate")?
    {
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().context("set up the HTTP client")
}

#[derive(Deserialize)]
pub(super) struct Refusal {
    pub(super) code: i64,
    pub(super) msg: String,
}

/// Why a request gave nothing.
pub(super) enum Failure {
    /// The exchange won't have it.
    Refused {
        status: StatusCode,
        refusal: Option<Refusal>,
    },
    /// No answer, however often.
    Unreachable(anyhow::Error),
}

impl Rest {
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        url: &str,
        query: &[(&str, String)],
        weight: u32,
        at_most: Duration,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        let (mut n_failures, mut n_refusals) = (0, 0);
        loop {
            // It is never closed.
            let turn = self.turns.acquire().await.ok();
            self.budget.spend(weight).await;
            let answer = self
                .client
                .get(url)
                .header("X-MBX-TIME-UNIT", "MICROSECOND")
                .query(query)
                .send()
                .await;
            let error = match answer {
                Err(error) => {
                    self.telemetry.rest(0);
                    anyhow::Error::new(error)
                }
                Ok(answer) => {
                    let status = answer.status();
                    self.telemetry.rest(status.as_u16());
                    if let Some(used) = number(answer.headers(), "x-mbx-used-weight-1m") {
                        self.budget.observe(used).await;
                    }
                    if matches!(status.as_u16(), 429 | 418) {
                        let wait = retry_after(answer.headers());
                        tracing::warn!(
                            status = status.as_u16(),
                            ?wait,
                            "the exchange wants to be left alone"
                        );
                        self.budget.block(wait).await;
                        n_refusals += 1;
                        if n_refusals < PATIENCE {
                            continue;
                        }
                        let error = anyhow::anyhow!("status {status}, {n_refusals} times");
                        return Err(Failure::Unreachable(error));
                    }
                    // A firewall's 403 and a server's 408 pass; the rest says what is wrong with us.
                    let passes = matches!(status.as_u16(), 403 | 408);
                    if status.as_u16() == 403 {
                        self.budget.block(LONGEST_WAIT.min(at_most)).await;
                    }
                    if status.is_client_error() && !passes {
                        let refusal = answer.json().await.ok();
                        return Err(Failure::Refused { status, refusal });
                    }
                    let text = match answer.error_for_status() {
                        Ok(answer) => answer.bytes().await,
                        Err(error) => Err(error),
                    };
                    match text {
                        Ok(text) => match serde_json::from_slice(&text) {
                            Ok(value) => return Ok(value),
                            Err(error) => anyhow::Error::new(error).context("read the answer"),
                        },
                        Err(error) => anyhow::Error::new(error),
                    }
                }
            };
            drop(turn);
            n_failures += 1;
            if began.elapsed() >= at_most {
                return Err(Failure::Unreachable(error));
            }
            sleep(wait_after(n_failures).min(at_most)).await;
        }
    }
}

impl Failure {
    pub(super) fn error(self) -> anyhow::Error {
        match self {
            Self::Refused { status, .. } if matches!(status.as_u16(), 401 | 451) => {
                anyhow::anyhow!(
                    "status {status}: it doesn't serve us, from here or without a key; another \
                     address may"
                )
            }
            Self::Refused {
                status,
                refusal: Some(Refusal { code, msg }),
            } => anyhow::anyhow!("status {status}: {msg} ({code})"),
            Self::Refused { status, .. } => anyhow::anyhow!("status {status}"),
            Self::Unreachable(error) => error,
        }
    }
}

/// Twice as long after each try.
pub(super) fn wait_after(n_tries: u32) -> Duration {
    Duration::from_millis(250 << n_tries.min(10)).min(LONGEST_WAIT)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u32> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(NOT_NOW, Duration::from_secs)
}
