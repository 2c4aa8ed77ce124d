//! What every command works with: a runtime, the signals, the metrics.

use std::sync::Arc;

use anyhow::Context as _;
use health::{routes, serve};
use terminal::exit::Environment;
use terminal::interrupt::Interrupt;
use tokio::runtime::Runtime;

use crate::telemetry::{Telemetry, TelemetryArgs};

/// The surroundings of a command.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) runtime: Runtime,
    pub(crate) interrupt: Interrupt,
    pub(crate) telemetry: Arc<Telemetry>,
}

/// What the first Ctrl-C says.
const STOPPING: &str = "stopping: what is under way is finished (Ctrl-C again stops at once)";

impl Context {
    /// Starts the runtime, listens for signals and, where it is asked to, answers for health.
    pub(crate) fn new(args: &TelemetryArgs) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("feed")
            .enable_all()
            .build()
            .context("start the threads")?;
        let interrupt = Interrupt::listen(&runtime, STOPPING);
        let telemetry = Arc::new(Telemetry::default());
        if let Some(address) = &args.listen {
            let bound = runtime
                .block_on(serve(address, routes(Arc::clone(&telemetry))))
                .with_context(|| Environment(format!("could not listen at `{address}`")))?;
            tracing::info!(%bound, "answering /metrics, /livez and /readyz");
        }
        Ok(Self {
            runtime,
            interrupt,
            telemetry,
        })
    }
}
