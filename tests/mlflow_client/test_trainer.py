"""A run that `trainer` made, through the client that its user already has."""

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.models import get_model_info

REPOSITORY = Path(__file__).resolve().parents[2]
TRAINER = Path(
    os.environ.get("FORESHOCK_BIN_DIR", REPOSITORY / "target/debug"), "trainer"
)


def train(folder, experiment, *more, tracking_uri=None):
    """Runs the program in `folder`; what it printed, as JSON."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")
    }
    if tracking_uri:
        environment["MLFLOW_TRACKING_URI"] = tracking_uri
    finished = subprocess.run(
        [TRAINER, "run", REPOSITORY / "experiments" / experiment, "--output", "json", *more],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@contextmanager
def serve(folder):
    """`registry serve` over what was registered in `folder`."""
    process = subprocess.Popen(
        [os.environ["FORESHOCK_REGISTRY_BIN"], "serve", "--port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    first = process.stdout.readline()
    assert first.startswith("registry at http://"), first
    uri = first.removeprefix("registry at ").strip()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    yield uri
    process.terminate()
    assert process.wait(timeout=20) == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the embedded registry, then `registry serve` in the same folder."""
    folder = tmp_path_factory.mktemp("trained")
    summary = train(folder, "iforest.toml")
    with serve(folder) as uri:
        yield summary, MlflowClient(uri)


def test_search_runs_shows_what_was_printed(trained):
    summary, client = trained
    runs = client.search_runs([summary["experiment_id"]], "attributes.status = 'FINISHED'")
    [run] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert run.info.run_id == summary["run_id"]
    # Each trial is a run below it.
    trials = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert trials and all(trial.data.tags["mlflow.parentRunId"] == run.info.run_id for trial in trials)
    assert run.info.end_time >= run.info.start_time
    assert client.get_experiment(summary["experiment_id"]).name == "market-anomaly"
    for name, value in summary["metrics"].items():
        if isinstance(value, dict):
            assert run.data.tags[f"undefined.{name}"] == value["undefined"]
            assert name not in run.data.metrics
        else:
            assert run.data.metrics[name] == value
    assert run.data.metrics["test_event_recall"] > 0
    assert run.data.params["experiment.seed"] == "42"
    assert len(run.data.tags["foreshock.data.sha256"]) == 64


def test_the_model_version_is_found_by_its_alias_and_its_folder_is_mlflows(trained, tmp_path):
    summary, client = trained
    version = client.get_model_version_by_alias("market-anomaly", "challenger")
    assert version.version == summary["model_version"]
    assert version.run_id == summary["run_id"]
    folder = mlflow.artifacts.download_artifacts(
        "models:/market-anomaly@challenger", dst_path=str(tmp_path)
    )
    info = get_model_info(folder)
    assert set(info.flavors) == {"foreshock", "onnx", "python_function"}
    columns = json.loads(Path(folder, "features.json").read_text())["features"]
    assert info.signature.inputs.input_names() == columns
    assert info.run_id == summary["run_id"]
    example = json.loads(Path(folder, "input_example.json").read_text())
    assert example["columns"] == columns
    assert all(len(row) == len(columns) for row in example["data"])
    assert Path(folder, info.flavors["foreshock"]["data"]).stat().st_size > 10_000


def test_the_report_and_the_experiment_file_are_artifacts(trained, tmp_path):
    summary, client = trained
    names = {file.path for file in client.list_artifacts(summary["run_id"])}
    assert {"model", "report", "experiment.toml", "evaluation.json", "data.json"} <= names
    report = Path(
        client.download_artifacts(summary["run_id"], "report/report.html", str(tmp_path))
    ).read_text()
    assert report.count("<svg") >= 3
    for elsewhere in ("<script src", "<link", 'src="http', "url(http"):
        assert elsewhere not in report, "the report stands alone"
    pictures = client.list_artifacts(summary["run_id"], "report")
    assert sum(file.path.endswith(".png") for file in pictures) >= 5


def test_a_run_goes_to_the_registry_that_the_environment_names(server, client, tmp_path):
    summary = train(
        tmp_path, "simulated.toml", "--set", "simulate.days=5", tracking_uri=server
    )
    assert summary["tracking_uri"] == server
    assert not (tmp_path / "foreshock" / "registry.db").exists()
    run = client.get_run(summary["run_id"])
    assert run.info.status == "FINISHED"
    assert client.get_model_version("simulated", summary["model_version"]).source
