"""The servers that the checks run against: ours, and the one that it must behave like."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

FORESHOCK = "foreshock"
POSTGRES = "foreshock-postgres"
MLFLOW = "mlflow"


def targets(with_reference):
    """What to run against; PostgreSQL where FORESHOCK_TEST_POSTGRES names a database."""
    found = [FORESHOCK]
    if os.environ.get("FORESHOCK_TEST_POSTGRES"):
        found.append(POSTGRES)
    if with_reference:
        found.append(MLFLOW)
    return found


@contextlib.contextmanager
def serve(target, folder):
    """Runs a server with all of its files in `folder`; gives its URL."""
    if target == MLFLOW:
        with _reference(folder) as url:
            yield url
    else:
        database = f"sqlite:///{folder}/registry.db"
        if target == POSTGRES:
            database = os.environ["FORESHOCK_TEST_POSTGRES"]
        with _foreshock(folder, database) as url:
            yield url


@contextlib.contextmanager
def _foreshock(folder, database):
    process = subprocess.Popen(
        [
            os.environ["FORESHOCK_REGISTRY_BIN"],
            "serve",
            "--backend-store-uri",
            database,
            "--artifacts-destination",
            f"{folder}/artifacts",
            "--port",
            "0",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    first = process.stdout.readline()
    assert first.startswith("registry at http://"), first
    yield first.removeprefix("registry at ").strip()
    process.terminate()
    assert process.wait(timeout=20) == 0


@contextlib.contextmanager
def _reference(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Neither ours nor the user's own settings may reach it.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
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
            env=environment,
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
