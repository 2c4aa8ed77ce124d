"""A PostgreSQL server of the tests' own: the real one, from the machine's package."""

import atexit
import functools
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

USER, PASSWORD = "foreshock", "test-password"
INSTALL = "PostgreSQL is missing; install it (Debian: apt-get install postgresql)"


def programs():
    """The folder of the newest version's programs, or None where PostgreSQL is not installed."""
    found = []
    for versions in ("/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"):
        for initdb in Path(versions).glob("*/bin/initdb"):
            number = initdb.parents[1].name.rpartition("@")[2]
            if number.isdigit():
                found.append((int(number), initdb.parent))
    if found:
        return max(found)[1]
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@functools.cache
def server():
    """The one server of this process; it ends with it."""
    folder = programs()
    assert folder, INSTALL
    return _Server(folder)


class _Server:
    def __init__(self, programs):
        self._programs = programs
        self._numbers = itertools.count()
        # PostgreSQL refuses to run as root: there it is its package's user.
        self._user = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        self._folder = tempfile.mkdtemp(prefix="foreshock-postgres-")
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        password = Path(self._folder, "password")
        password.write_text(PASSWORD)
        if self._user:
            for path in (self._folder, password):
                shutil.chown(path, **self._user)
        self._run(
            "initdb", "--username", USER, "--auth", "scram-sha-256", "--no-sync", "--encoding", "UTF8",
            # Not C: the order of texts must not depend on a lucky locale.
            "--locale", "C.UTF-8", f"--pwfile={password}", f"--pgdata={self._folder}/data",
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200")
        self._log = Path(self._folder, "log")
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [
                    self._programs / "postgres",
                    *(word for setting in settings for word in ("-c", setting)),
                    *("-p", str(self._port), "-D", f"{self._folder}/data"),
                ],
                cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._user,
            )
        # Before the folder goes: what is registered last is called first.
        atexit.register(self._stop)
        self._wait()

    def database(self):
        """Creates an empty database; its URI."""
        name = f"test_{next(self._numbers)}"
        self._sql(f"CREATE DATABASE {name}")
        return self._uri(name)

    def _uri(self, database):
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self._port}/{database}"

    def _sql(self, text):
        self._run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", text, self._uri("postgres"))

    def _run(self, program, *arguments):
        done = subprocess.run(
            [self._programs / program, *arguments],
            cwd=self._folder, capture_output=True, text=True, **self._user,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stderr}")

    def _wait(self, seconds=60):
        deadline = time.monotonic() + seconds
        while True:
            assert self._process.poll() is None, self._log.read_text()
            try:
                return self._sql("SELECT 1")
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _stop(self):
        # An immediate shutdown: nobody reads the data again.
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(timeout=30)
