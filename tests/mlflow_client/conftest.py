"""Starts the real registry on a free port, with a folder of its own."""

import os
import subprocess
import uuid

import pytest

# The client must fail at once when the server does, and must not write beside the tests.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
# The server's: the receivers of webhooks are here.
os.environ["MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS"] = "true"
os.environ["MLFLOW_WEBHOOK_ALLOWED_SCHEMES"] = "http,https"
os.environ["MLFLOW_WEBHOOK_CACHE_TTL"] = "1"

import mlflow  # noqa: E402
from mlflow import MlflowClient  # noqa: E402


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    process = subprocess.Popen(
        [
            os.environ["FORESHOCK_REGISTRY_BIN"],
            "serve",
            "--backend-store-uri",
            f"sqlite:///{folder}/registry.db",
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


@pytest.fixture
def client(server):
    mlflow.set_tracking_uri(server)
    mlflow.set_registry_uri(server)
    return MlflowClient(server)


@pytest.fixture
def name():
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def experiment(client, name):
    return client.create_experiment(name)


@pytest.fixture
def run_id(client, experiment):
    return client.create_run(experiment).info.run_id
