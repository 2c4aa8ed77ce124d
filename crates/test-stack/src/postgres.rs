//! A PostgreSQL server of its own: the real one, from the machine's package.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

const USER: &str = "foreshock";
const PASSWORD: &str = "test-password";
const START: Duration = Duration::from_secs(60);

/// A running PostgreSQL server with one superuser; stopped, and its data removed, on drop.
///
/// PostgreSQL refuses to run as root: where the tests do, it runs as the user `postgres` that its
/// package creates.
#[derive(Debug)]
pub struct PostgresServer {
    port: u16,
    binaries: PathBuf,
    folder: TempDir,
    process: Child,
    databases: AtomicU32,
}

impl PostgresServer {
    /// Starts a server on a free port with an empty cluster.
    ///
    /// # Errors
    /// When PostgreSQL is not installed (the message says how to install it) or does not start.
    pub fn start() -> Result<Self> {
        let binaries = binaries()?;
        let folder = TempDir::with_prefix("foreshock-postgres-").context("create a folder")?;
        let owner = unprivileged()?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid))
                .context("hand the folder to the user `postgres`")?;
        }
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD)?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(&password, Some(uid), Some(gid))?;
        }
        let data = folder.path().join("data");
        let output = as_user(&binaries.join("initdb"), owner)
            .args(["--username", USER, "--auth", "scram-sha-256", "--no-sync"])
            // Not C: the order of texts must not depend on a lucky locale.
            .args(["--encoding", "UTF8", "--locale", "C.UTF-8"])
            .arg(joined("--pwfile=", &password))
            .arg(joined("--pgdata=", &data))
            .current_dir(folder.path())
            .output()
            .context("run initdb")?;
        ensure!(
            output.status.success(),
            "initdb failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let process = launch(&binaries, folder.path(), port)?;
        let server = Self {
            port,
            binaries,
            folder,
            process,
            databases: AtomicU32::new(0),
        };
        server.wait()?;
        Ok(server)
    }

    /// Creates an empty database and returns its URI.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn create_database(&self) -> Result<String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!("CREATE DATABASE {name}"))?;
        Ok(self.uri(&name))
    }

    /// The URI of a database, with its password.
    #[must_use]
    pub fn uri(&self, database: &str) -> String {
        format!(
            "postgresql://{USER}:{PASSWORD}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// Runs SQL as an administrator and returns what `psql` prints, without headers.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn sql(&self, sql: &str) -> Result<String> {
        self.sql_in("postgres", sql)
    }

    /// Runs SQL in one of the databases.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn sql_in(&self, database: &str, sql: &str) -> Result<String> {
        let output = Command::new(self.binaries.join("psql"))
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(self.uri(database))
            .current_dir("/")
            .output()
            .context("run psql")?;
        ensure!(
            output.status.success(),
            "psql: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Kills every process of the server as a crash would, without any farewell.
    ///
    /// # Errors
    /// When there is no process to kill.
    pub fn kill(&mut self) -> Result<()> {
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.process.id()))
                .unwrap_or_default();
        // Its children lead process groups of their own, so each is named. One that served a
        // client who has left may be gone by now: what `kill` says of it does not matter.
        self.process.kill().context("kill postgres")?;
        drop(
            Command::new("kill")
                .arg("-9")
                .args(children.split_whitespace())
                .stderr(Stdio::null())
                .status(),
        );
        self.process.wait()?;
        Ok(())
    }

    /// Starts it again after [`Self::kill`], with the same data and port.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.process = launch(&self.binaries, self.folder.path(), self.port)?;
        self.wait()
    }

    fn wait(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            match self.sql("SELECT 1") {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() > START => {
                    let log = fs::read_to_string(self.folder.path().join("log"));
                    return Err(error.context(format!(
                        "PostgreSQL does not start: {}",
                        log.unwrap_or_default()
                    )));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // An immediate shutdown: nobody reads the data again.
        let pid = self.process.id().to_string();
        drop(Command::new("kill").args(["-QUIT", &pid]).status());
        drop(self.process.wait());
    }
}

fn launch(binaries: &Path, folder: &Path, port: u16) -> Result<Child> {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))?;
    as_user(&binaries.join("postgres"), unprivileged()?)
        .args(["-c", "listen_addresses=127.0.0.1"])
        .args(["-c", "unix_socket_directories="])
        .args(["-c", "max_connections=200"])
        .arg("-p")
        .arg(port.to_string())
        .arg("-D")
        .arg(folder.join("data"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("start postgres")
}

/// The newest installed version's folder of programs.
fn binaries() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for versions in ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"] {
        for entry in fs::read_dir(versions).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.rsplit('@').next().and_then(|n| n.parse().ok());
            let bin = entry.path().join("bin");
            if let (Some(number), true) = (number, bin.join("initdb").exists()) {
                found.push((number, bin));
            }
        }
    }
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .find(|folder| folder.join("initdb").exists());
    found.sort();
    found
        .pop()
        .map(|(_, bin)| bin)
        .or(on_path)
        .context("PostgreSQL is missing; install it (Debian: apt-get install postgresql)")
}

/// The user to run as, where the tests run as root.
fn unprivileged() -> Result<Option<(u32, u32)>> {
    if fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() != 0
    }) {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("read the users")?;
    for line in users.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let ["postgres", _, uid, gid, ..] = fields[..] {
            return Ok(Some((uid.parse()?, gid.parse()?)));
        }
    }
    bail!("PostgreSQL refuses to run as root, and there is no user `postgres`")
}

fn as_user(program: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
    command.env("LC_ALL", "C.UTF-8");
    command
}

fn joined(flag: &str, path: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from(flag);
    argument.push(AsRef::<OsStr>::as_ref(path));
    argument
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_was_committed_survives_a_kill() {
        let mut server = PostgresServer::start().unwrap();
        let uri = server.create_database().unwrap();
        let database = uri.rsplit('/').next().unwrap().to_owned();
        server
            .sql_in(&database, "CREATE TABLE t AS SELECT 42 AS x")
            .unwrap();
        server.kill().unwrap();
        assert!(server.sql("SELECT 1").is_err());
        server.restart().unwrap();
        assert_eq!(server.sql_in(&database, "SELECT x FROM t").unwrap(), "42");
    }
}
