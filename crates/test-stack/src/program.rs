//! Built programs under test: run to the end, or in the background.
#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "what a test expects and doesn't find ends it"
)]

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The longest that anything takes on a busy machine.
pub const LONG: Duration = Duration::from_secs(180);

/// A program without those variables of this process's environment whose names begin with one of `hidden`.
#[must_use]
pub fn program(path: impl AsRef<Path>, hidden: &[&str]) -> Command {
    let mut command = Command::new(path.as_ref());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if hidden.iter().any(|start| text.starts_with(start)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Another program of the workspace, built beside the one at `path`; as [`program`] makes it. Where a crate's tests run
/// alone, it has to be built before them.
#[must_use]
pub fn sibling(path: impl AsRef<Path>, name: &str, hidden: &[&str]) -> Command {
    let path = path
        .as_ref()
        .with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.is_file(),
        "{} is missing: `cargo build -p {name}` first",
        path.display()
    );
    program(path, hidden)
}

/// Runs to the end and expects success.
pub fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    output
}

/// Runs to the end and expects this exit code and these words on stderr.
pub fn refused(command: &mut Command, code: i32, words: &[&str]) {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    let stderr = String::from_utf8_lossy(&output.stderr);
    for word in words {
        assert!(stderr.contains(word), "`{word}` is not in: {stderr}");
    }
}

/// All that a program said, for messages.
#[must_use]
pub fn said(output: &Output) -> String {
    format!(
        "{}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A program under way; killed on drop.
#[derive(Debug)]
pub struct Running(Option<Child>);

impl Running {
    /// Starts it; what it prints is kept until it is stopped.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self(Some(child))
    }

    /// Sends a signal, such as `-STOP`.
    pub fn signal(&self, name: &str) {
        let pid = self.0.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGKILL, and nothing else.
    pub fn kill(mut self) {
        let mut child = self.0.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for its end, but not for ever: the exit code.
    #[must_use]
    pub fn ended(mut self) -> Option<i32> {
        let mut status = None;
        until("the end of the program", || {
            status = self.0.as_mut().unwrap().try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    /// Asks it to stop, and expects success; what it printed.
    pub fn stop(mut self) -> String {
        self.signal("-TERM");
        let mut child = self.0.take().unwrap();
        let mut text = String::new();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_to_string(&mut text).unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}: {text}");
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may be gone already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Looks again and again until it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "still not: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
