//! Ctrl-C: the first asks the work to stop, the second stops at once.

use std::sync::mpsc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Whether somebody asked to stop. Cheap to clone and to ask.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(CancellationToken);

/// The error of work that was asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Interrupt {
    /// Listens for SIGINT and SIGTERM on `runtime`; from here on neither ends the process by itself.
    /// `notice` is what the first one says on stderr.
    pub fn listen(runtime: &tokio::runtime::Runtime, notice: &'static str) -> Self {
        let interrupt = Self::default();
        let token = interrupt.0.clone();
        let _context = runtime.enter();
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                tracing::warn!(%error, "can't listen for signals: Ctrl-C ends the process at once");
                return interrupt;
            }
        };
        runtime.spawn(async move {
            while signals.next().await.is_some() {
                if token.is_cancelled() {
                    std::process::exit(130);
                }
                token.cancel();
                eprintln_now(notice);
            }
        });
        interrupt
    }

    /// Asks to stop, as a signal would.
    pub fn ask(&self) {
        self.0.cancel();
    }

    /// Whether somebody asked to stop.
    pub fn is_asked(&self) -> bool {
        self.0.is_cancelled()
    }

    /// # Errors
    /// [`Interrupted`] once somebody asked to stop.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.0.is_cancelled() {
            Err(Interrupted)
        } else {
            Ok(())
        }
    }

    /// Does work that doesn't ask by itself, on a thread of its own: when somebody asks to stop,
    /// the thread is left alone until the process ends.
    ///
    /// # Errors
    /// [`Interrupted`] once somebody asked to stop, before the work was done.
    pub fn leave_when_asked<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Interrupted> {
        const LOOK: Duration = Duration::from_millis(20);
        let (done, result) = mpsc::channel();
        let worker = std::thread::spawn(move || drop(done.send(work())));
        loop {
            match result.recv_timeout(LOOK) {
                Ok(result) => return Ok(result),
                Err(mpsc::RecvTimeoutError::Timeout) => self.check()?,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    // Only a panic ends it without a result.
                    if let Err(panic) = worker.join() {
                        std::panic::resume_unwind(panic);
                    }
                    return Err(Interrupted);
                }
            }
        }
    }

    /// Waits until somebody asks to stop.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }
}

/// The signals that ask to stop; none is lost between two calls of [`Signals::next`].
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Option<()> {
        tokio::select! {
            signal = self.interrupt.recv() => signal,
            signal = self.terminate.recv() => signal,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Option<()> {
        tokio::signal::ctrl_c().await.ok()
    }
}

fn eprintln_now(message: &str) {
    use std::io::Write;
    // A closed stderr is no reason to stop stopping.
    drop(writeln!(std::io::stderr(), "\n{message}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_does_not_ask_is_left_when_somebody_asked_to_stop() {
        let interrupt = Interrupt::default();
        assert_eq!(interrupt.leave_when_asked(|| 7).unwrap(), 7);
        interrupt.0.cancel();
        let (release, wait) = mpsc::channel::<()>();
        let left = interrupt.leave_when_asked(move || wait.recv().is_ok());
        assert!(left.is_err());
        drop(release);
    }
}
