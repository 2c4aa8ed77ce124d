//! Bodies that are watched while they stream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;
use tokio::time::{Instant, Sleep};

struct Watched {
    body: Body,
    bytes: Counter,
    idle: Option<(Duration, Pin<Box<Sleep>>)>,
}

/// A body whose bytes are counted, and that fails when its sender is silent for `idle`.
pub(super) fn watched(body: Body, bytes: Counter, idle: Option<Duration>) -> Body {
    let idle = idle.map(|idle| (idle, Box::pin(tokio::time::sleep(idle))));
    Body::new(Watched { body, bytes, idle })
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.bytes.inc_by(data.len() as u64);
        }
        if let Some((idle, sleep)) = &mut self.idle {
            if polled.is_ready() {
                sleep.as_mut().reset(Instant::now() + *idle);
            } else if sleep.as_mut().poll(context).is_ready() {
                let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
                return Poll::Ready(Some(Err(axum::Error::new(error))));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
