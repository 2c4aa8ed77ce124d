//! Clients that nobody needs any more.

/// Closes a client in the background: it takes librdkafka a tenth of a second, and nobody needs to
/// wait for it.
pub(crate) fn leave(client: impl Send + 'static) {
    // Where no thread can be started, it is closed here.
    let closing = std::thread::Builder::new().name("kafka-close".to_owned());
    drop(closing.spawn(move || drop(client)));
}
