//! Ctrl-C: the first asks the work to stop, the second stops at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody asked to stop. Cheap to clone and to ask.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

/// The error of work that was asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Interrupt {
    /// Listens for SIGINT and SIGTERM on `runtime`.
    pub fn listen(runtime: &tokio::runtime::Runtime) -> Self {
        let interrupt = Self::default();
        let flag = Arc::clone(&interrupt.0);
        runtime.spawn(async move {
            loop {
                if wait_for_signal().await.is_err() {
                    return;
                }
                if flag.swap(true, Ordering::SeqCst) {
                    std::process::exit(130);
                }
                eprintln_now(
                    "stopping; the run will be marked KILLED (Ctrl-C again stops at once)",
                );
            }
        });
        interrupt
    }

    /// # Errors
    /// [`Interrupted`] once somebody asked to stop.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.0.load(Ordering::SeqCst) {
            Err(Interrupted)
        } else {
            Ok(())
        }
    }
}

#[cfg(unix)]
async fn wait_for_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn wait_for_signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

fn eprintln_now(message: &str) {
    use std::io::Write;
    // A closed stderr is no reason to stop stopping.
    drop(writeln!(std::io::stderr(), "\n{message}"));
}
