//! One WebSocket connection, from its handshake to its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_util::sync::CancellationToken;

use super::frames::{Event, Frame, Payload, Symbols};
use super::tls::{Opener, Socket};
use crate::telemetry::Telemetry;
use crate::time::now;

/// Names in one subscription; their number is limited by the message's size only.
const NAMES: usize = 200;
/// Between two subscriptions: the exchange takes 5 messages a second, pongs among them.
const BETWEEN: Duration = Duration::from_millis(350);
/// Everything must be confirmed within so long.
const CONFIRMED: Duration = Duration::from_secs(30);
/// A farewell takes no longer.
const FAREWELL: Duration = Duration::from_secs(2);

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Opening,
    /// Everything is subscribed to, and something has come.
    Live,
    /// The server said that it goes away.
    Leaving,
    Ended,
}

/// What a connection needs.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) opener: Opener,
    pub(super) symbols: Symbols,
    /// `btcusdt@trade` and so on.
    pub(super) streams: Arc<[String]>,
    pub(super) silence: Duration,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) telemetry: Arc<Telemetry>,
}

/// A connection under way.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) stage: watch::Receiver<Stage>,
    pub(super) stop: CancellationToken,
    pub(super) task: tokio::task::JoinHandle<&'static str>,
}

impl Link {
    /// Opens the connection in the background; its task ends with the reason.
    pub(super) fn start(&self) -> Running {
        let (tell, stage) = watch::channel(Stage::Opening);
        let stop = CancellationToken::new();
        let (link, token) = (self.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let reason = link.run(&tell, &token).await;
            tell.send_replace(Stage::Ended);
            reason
        });
        Running { stage, stop, task }
    }

    async fn run(&self, stage: &watch::Sender<Stage>, stop: &CancellationToken) -> &'static str {
        let socket = tokio::select! {
            socket = self.opener.open() => socket,
            () = stop.cancelled() => return "stopped",
        };
        match socket {
            Ok(mut socket) => {
                self.telemetry.connections(1);
                let reason = self.listen(&mut socket, stage, stop).await;
                self.telemetry.connections(-1);
                // The server may be gone; that is no news.
                drop(timeout(FAREWELL, socket.close(None)).await);
                reason
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "no connection");
                "not_connected"
            }
        }
    }

    async fn listen(
        &self,
        socket: &mut Socket,
        stage: &watch::Sender<Stage>,
        stop: &CancellationToken,
    ) -> &'static str {
        let mut batches = self.streams.chunks(NAMES).enumerate();
        let n_batches = self.streams.len().div_ceil(NAMES);
        let mut n_confirmed = 0;
        let mut subscribe = interval(BETWEEN);
        // After a wait for Kafka the requests must not go out at once.
        subscribe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_all_asked = false;
        let mut deadline = Instant::now() + self.silence;
        let confirm_until = Instant::now() + CONFIRMED;
        loop {
            let message = tokio::select! {
                message = socket.next() => message,
                _ = subscribe.tick(), if !is_all_asked => {
                    let Some((idx, names)) = batches.next() else {
                        is_all_asked = true;
                        continue;
                    };
                    let request = json!({ "method": "SUBSCRIBE", "params": names, "id": idx + 1 });
                    if socket.send(Message::text(request.to_string())).await.is_err() {
                        return "broken";
                    }
                    continue;
                }
                () = sleep_until(deadline) => return "silence",
                // Pings go on where a subscription was lost.
                () = sleep_until(confirm_until), if n_confirmed < n_batches => {
                    return "not_subscribed";
                }
                () = stop.cancelled() => return "replaced",
            };
            let frame = match message {
                Some(Ok(Message::Text(text))) => self.symbols.read(text.as_bytes()),
                Some(Ok(Message::Binary(bytes))) => self.read_binary(&bytes),
                Some(Ok(Message::Ping(_))) => {
                    // The answer is ready; it goes out with the next flush.
                    if socket.flush().await.is_err() {
                        return "broken";
                    }
                    deadline = Instant::now() + self.silence;
                    continue;
                }
                Some(Ok(Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(_))) | None => return "closed",
                Some(Err(SocketError::Capacity(_))) => return "frame_too_large",
                Some(Err(SocketError::Protocol(_) | SocketError::Utf8(_))) => {
                    return "protocol_violated";
                }
                Some(Err(_)) => return "broken",
            };
            deadline = Instant::now() + self.silence;
            match frame {
                Frame::Event(event) => {
                    self.observe(&event);
                    // A full channel stops the reading: this is where the socket feels Kafka.
                    tokio::select! {
                        sent = self.events.send(event) => if sent.is_err() { return "stopped" },
                        () = stop.cancelled() => return "replaced",
                    }
                    deadline = Instant::now() + self.silence;
                }
                Frame::Open => self.telemetry.message("kline_open"),
                Frame::Subscribed { .. } => {
                    n_confirmed += 1;
                    if n_confirmed == n_batches {
                        stage.send_if_modified(|stage| {
                            let is_new = *stage == Stage::Opening;
                            *stage = if is_new { Stage::Live } else { *stage };
                            is_new
                        });
                    }
                }
                Frame::Refused { reason } => {
                    tracing::error!(reason, "the exchange refused a subscription");
                    return "subscription_refused";
                }
                Frame::Shutdown => {
                    stage.send_replace(Stage::Leaving);
                }
                Frame::Unknown(reason) => self.telemetry.refused_frame(reason),
            }
        }
    }

    fn read_binary(&self, bytes: &Bytes) -> Frame {
        self.symbols.read(bytes)
    }

    fn observe(&self, event: &Event) {
        self.telemetry.message(event.kind.as_str());
        if let Payload::Trade(trade) = event.payload {
            self.telemetry
                .delay((now() - trade.event_time) as f64 / 1e6);
        }
    }
}
