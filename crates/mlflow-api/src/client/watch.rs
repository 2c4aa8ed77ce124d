//! Following an alias.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::{Client, ClientError};

/// The server says something at least every 15 s; a connection that is silent for longer than
/// this is dead.
const SILENCE: Duration = Duration::from_secs(45);
const POLL: Duration = Duration::from_secs(2);

/// Follows an alias: see [`Client::watch_alias`].
pub struct AliasWatch {
    client: Client,
    name: String,
    alias: String,
    poll: Duration,
    /// Whether the server tells of changes by itself.
    pushes: bool,
    events: Option<Events>,
    /// Whether the alias may have moved since it was last read.
    stale: bool,
    known: Option<Option<String>>,
    failures: u32,
}

impl std::fmt::Debug for AliasWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AliasWatch")
            .field("name", &self.name)
            .field("alias", &self.alias)
            .field("pushes", &self.pushes)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Follows an alias: [`AliasWatch::next`] gives the version that it names now, and then each
    /// other version as soon as the alias moves.
    ///
    /// A Foreshock registry tells of a move by itself, in well under a second; any other server of
    /// the dialect is asked every two seconds. A connection that breaks is made again.
    #[must_use]
    pub fn watch_alias(&self, name: &str, alias: &str) -> AliasWatch {
        AliasWatch {
            client: self.clone(),
            name: name.to_owned(),
            alias: alias.to_owned(),
            poll: POLL,
            pushes: true,
            events: None,
            stale: true,
            known: None,
            failures: 0,
        }
    }
}

impl AliasWatch {
    /// Sets how often a server is asked that does not tell by itself.
    #[must_use]
    pub fn poll_every(mut self, pause: Duration) -> Self {
        self.poll = pause;
        self
    }

    /// The version that the alias names, as soon as it is another than the last one given; `None`
    /// when there is no such alias (any more).
    ///
    /// Waits as long as it takes, also for a server that is down. May be dropped and called again
    /// at any time without losing a change. Of several moves in a row only the last may be seen.
    ///
    /// # Errors
    /// When the server refuses for good: the credentials, the name.
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            match self.step().await {
                Ok(Some(version)) => return Ok(version),
                Ok(None) => {}
                Err(error) if error.is_passing() => {
                    self.events = None;
                    self.stale = true;
                    let pause = self.client.pause(self.failures);
                    self.failures = self.failures.saturating_add(1);
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One step of the way to the next version; `None`: not there yet.
    async fn step(&mut self) -> Result<Option<Option<String>>, ClientError> {
        if self.pushes && self.events.is_none() {
            self.connect().await?;
        }
        if self.stale {
            // Read after the connection is there: a move in between is told.
            let version = self.read().await?;
            self.stale = false;
            self.failures = 0;
            if self.known.as_ref() != Some(&version) {
                self.known = Some(version.clone());
                return Ok(Some(version));
            }
        }
        let Some(events) = &mut self.events else {
            tokio::time::sleep(self.poll).await;
            self.stale = true;
            return Ok(None);
        };
        match tokio::time::timeout(SILENCE, events.next()).await {
            Ok(Some(event)) if event == "alias" => self.stale = true,
            Ok(Some(event)) if event != "gap" => {}
            // The server ended it, told of a gap, or is silent.
            _ => {
                self.events = None;
                self.stale = true;
                // A server that ends every connection at once must not be stormed.
                tokio::time::sleep(self.client.pause(0)).await;
            }
        }
        Ok(None)
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let url = format!("{}/api/2.0/foreshock/events", self.client.tracking_uri());
        let query = vec![
            ("model".to_owned(), self.name.clone()),
            ("alias".to_owned(), self.alias.clone()),
        ];
        match self.client.open(&url, query).await {
            Ok(answer) => {
                self.events = Some(Events {
                    body: answer.bytes_stream().boxed(),
                    buffer: Vec::new(),
                    event: String::new(),
                });
                self.stale = true;
                Ok(())
            }
            Err(ClientError::Refused {
                status: 404 | 405 | 501,
                ..
            }) => {
                self.pushes = false;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn read(&mut self) -> Result<Option<String>, ClientError> {
        let version = self.client.find_by_alias(&self.name, &self.alias).await?;
        Ok(version.map(|version| version.version))
    }
}

/// The events of a `text/event-stream`, of which only the types matter here.
struct Events {
    body: BoxStream<'static, reqwest::Result<Bytes>>,
    buffer: Vec<u8>,
    event: String,
}

impl Events {
    /// The type of the next event; a comment is an event of no type. `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end_matches(['\r', '\n']);
                if line.is_empty() || line.starts_with(':') {
                    return Some(std::mem::take(&mut self.event));
                }
                if let Some(event) = line.strip_prefix("event:") {
                    self.event = event.trim().to_owned();
                }
            }
            match self.body.next().await {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(_)) | None => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_are_found_however_they_are_cut() {
        let text = "event: alias\nid: 1\ndata: {}\n\n: keep-alive\n\nevent:gap\r\ndata: {}\r\n\r\n";
        for size in [1, 2, 7, text.len()] {
            let chunks: Vec<_> = text
                .as_bytes()
                .chunks(size)
                .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
                .collect();
            let mut events = Events {
                body: futures::stream::iter(chunks).boxed(),
                buffer: Vec::new(),
                event: String::new(),
            };
            let mut seen = Vec::new();
            while let Some(event) = events.next().await {
                if !event.is_empty() {
                    seen.push(event);
                }
            }
            assert_eq!(seen, ["alias", "gap"], "{size}");
        }
    }
}
