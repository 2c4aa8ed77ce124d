"""The servers that the checks run against: ours, and the one that it must behave like."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import postgres

FORESHOCK = "foreshock"
POSTGRES = "foreshock-postgres"
MLFLOW = "mlflow"


def targets(with_reference):
    """What to run against: ours on every database that is installed, and the reference."""
    found = [FORESHOCK]
    if postgres.programs():
        found.append(POSTGRES)
    if with_reference:
        found.append(MLFLOW)
    return found


@contextlib.contextmanager
def serve(target, folder, **environment):
    """Runs a server with all of its files in `folder`; gives its URL."""
    running = _reference(folder, environment) if target == MLFLOW else _ours(target, folder, environment)
    with running as url:
        yield url


class Registry:
    """Our program over a database and a folder of its own."""

    def __init__(self, target, folder):
        self.database = f"sqlite:///{folder}/registry.db"
        if target == POSTGRES:
            self.database = postgres.server().database()
        self.artifacts = f"{folder}/artifacts"
        self.program = os.environ["FORESHOCK_REGISTRY_BIN"]

    def run(self, command, *arguments, stdin=None, check=True):
        """Runs a command over the database; what it reports, or how it ended without `check`."""
        words = ("--output", "json", command, "--backend-store-uri", self.database)
        done = subprocess.run(
            [self.program, *words, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if not check:
            return done
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def serve(self, *options, **environment):
        """Runs the server on a free port; gives its URL."""
        process = subprocess.Popen(
            [
                self.program,
                "serve",
                "--backend-store-uri",
                self.database,
                "--artifacts-destination",
                self.artifacts,
                "--port",
                "0",
                *options,
            ],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            first = process.stdout.readline()
            assert first.startswith("registry at http://"), first
            yield first.removeprefix("registry at ").strip()
        finally:
            process.terminate()
            ended = process.wait(timeout=20)
        assert ended == 0


@contextlib.contextmanager
def _ours(target, folder, environment):
    with Registry(target, folder).serve(**environment) as url:
        yield url


@contextlib.contextmanager
def _reference(folder, environment):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The user's own settings must not reach it.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(f"{folder}/log", "wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "mlflow",
                "server",
                "--backend-store-uri",
                f"sqlite:///{folder}/mlflow.db",
                "--artifacts-destination",
                f"{folder}/artifacts",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--workers",
                "1",
            ],
            cwd=folder,
            env=inherited | quiet | environment,
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, Path(folder, "log"))
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(url, process, log, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"mlflow server does not answer:\n{log.read_text()}")
