//! Progress on stderr: bars on a terminal, one plain line per phase elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows the phases of a command.
#[derive(Debug, Clone)]
pub struct Progress {
    on_terminal: bool,
    quiet: bool,
    /// Follows every phase's name.
    suffix: String,
}

/// One phase under way. Dropping it without [`Phase::done`] clears its bar.
#[derive(Debug)]
pub struct Phase {
    bar: Option<ProgressBar>,
    name: String,
    started: Instant,
    quiet: bool,
}

impl Progress {
    /// Bars if stderr is a terminal; nothing at all if `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self {
            on_terminal: std::io::stderr().is_terminal(),
            quiet,
            suffix: String::new(),
        }
    }

    /// The progress of one fold of several, whose phases name it; the same for just one.
    #[must_use]
    pub fn of_fold(&self, fold: usize, n_folds: usize) -> Self {
        let suffix = if n_folds > 1 {
            format!(" {}/{n_folds}", fold + 1)
        } else {
            String::new()
        };
        Self {
            suffix,
            ..self.clone()
        }
    }

    /// Begins a phase of `total` steps (0: unknown).
    pub fn phase(&self, name: &str, total: u64) -> Phase {
        let name = format!("{name}{}", self.suffix);
        let bar = (self.on_terminal && !self.quiet).then(|| {
            let bar = if total == 0 {
                ProgressBar::new_spinner()
            } else {
                ProgressBar::new(total)
            };
            bar.set_draw_target(ProgressDrawTarget::stderr());
            let template = if total == 0 {
                "{spinner} {msg:<12} {elapsed}"
            } else {
                "  {msg:<12} [{bar:30}] {human_pos}/{human_len} {eta}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(name.clone());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Phase {
            bar,
            name,
            started: Instant::now(),
            quiet: self.quiet,
        }
    }

    /// A line of its own.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            write_line(text);
        }
    }
}

impl Phase {
    /// Moves by `steps`.
    pub fn advance(&self, steps: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(steps);
        }
    }

    /// Ends the phase; `outcome` says what came of it.
    pub fn done(self, outcome: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if !self.quiet {
            write_line(&format!(
                "  {:<12} {outcome} ({})",
                self.name,
                show_duration(self.started.elapsed())
            ));
        }
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `1 file`, `2 files`.
pub fn plural(count: u64, word: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {word}{ending}")
}

/// Names for a message: the first five in backticks, and how many there are besides.
pub fn list(names: &[impl AsRef<str>]) -> String {
    let mut shown: Vec<String> = names
        .iter()
        .take(5)
        .map(|name| format!("`{}`", name.as_ref()))
        .collect();
    if names.len() > shown.len() {
        shown.push(format!("{} more", names.len() - shown.len()));
    }
    shown.join(", ")
}

fn write_line(text: &str) {
    // A closed stderr must not end the work.
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{seconds:.0} s")
    }
}
