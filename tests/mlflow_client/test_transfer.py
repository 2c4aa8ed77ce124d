"""Imports from the real MLflow server: what the client logged there is what it reads here."""

import contextlib
import math
import pathlib
import socket

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from servers import MLFLOW, Registry, serve


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """A reference of its own: what is compared is all that it has."""
    with serve(MLFLOW, tmp_path_factory.mktemp("reference")) as url:
        yield url


@pytest.fixture(scope="session")
def filled(reference, tmp_path_factory):
    """The reference with a little of everything; returns its client."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "sub").mkdir()
    (folder / "sub" / "ä b.bin").write_bytes(bytes(range(256)) * 500)
    client = MlflowClient(reference, reference)
    for name in ("prices", "gone"):
        experiment = client.create_experiment(name, tags={"team": "alerts"})
        for i in range(3):
            run = client.create_run(experiment, tags={"i": str(i)}, run_name=f"run {i}").info.run_id
            client.log_batch(
                run,
                metrics=[Metric("loss", 1 / (step + 1), 1000 + step, step) for step in range(900)],
                params=[Param("p", "x" * 6000), Param("q", "ü")],
                tags=[RunTag("t", "v" * 5000)],
            )
            client.log_batch(run, metrics=[Metric("odd", math.nan, 1, 0), Metric("odd", math.inf, 2, 0)])
            client.log_artifacts(run, folder)
            client.log_text(run, "flavors: {}", "model/MLmodel")
            if i == 0:
                client.set_terminated(run, "FAILED", 5000)
            if i == 1:
                client.delete_run(run)
        if name == "gone":
            client.delete_experiment(experiment)
    runs = client.search_runs([client.get_experiment_by_name("prices").experiment_id])
    client.create_registered_model("forest", tags={"a": "b"}, description="trees")
    for run in runs:
        client.create_model_version(
            "forest", f"{run.info.artifact_uri}/model", run.info.run_id, tags={"k": "v"})
    client.transition_model_version_stage("forest", "1", "Staging")
    client.set_registered_model_alias("forest", "champion", "2")
    mlflow.set_tracking_uri(reference)
    mlflow.set_registry_uri(reference)
    mlflow.genai.register_prompt("greet", "Hello {{name}}")
    return client


class Here(Registry):
    """Where to import."""

    def fetch(self, url, *options, check=True):
        options = (*options, "--artifacts-destination", self.artifacts)
        return self.run("import", url, *options, check=check)

    @contextlib.contextmanager
    def client(self):
        with self.serve() as url:
            # Both named: a registry URI that another test has set must not be asked instead.
            yield MlflowClient(url, url)


@pytest.fixture
def here(target, tmp_path):
    return Here(target, tmp_path)


def described(client, tmp_path):
    """Everything the client sees, without ids and places of experiments."""
    seen = {}
    for experiment in client.search_experiments(view_type=ViewType.ALL):
        if experiment.name == "Default":
            continue
        seen["experiment", experiment.name] = (
            experiment.tags, experiment.lifecycle_stage, experiment.creation_time)
        for run in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL):
            info, data = run.info, run.data
            run_id = info.run_id
            seen["run", run_id] = (
                experiment.name, info.run_name, info.status, info.start_time, info.end_time,
                info.lifecycle_stage, data.params, data.tags)
            for key in data.metrics:
                seen["points", run_id, key] = [
                    (str(m.value), m.step, m.timestamp) for m in client.get_metric_history(run_id, key)]
            if info.lifecycle_stage != "active" or experiment.lifecycle_stage != "active":
                continue
            folder = tmp_path / f"{len(seen)}"
            folder.mkdir()
            root = pathlib.Path(client.download_artifacts(run_id, "", str(folder)))
            for file in sorted(path for path in root.rglob("*") if path.is_file()):
                seen["file", run_id, str(file.relative_to(root))] = file.read_bytes()
    for model in client.search_registered_models():
        seen["model", model.name] = (model.tags, model.description, model.aliases)
    for version in client.search_model_versions(""):
        seen["version", version.name, version.version] = (
            version.current_stage, version.tags, version.run_id, version.creation_timestamp)
    return seen


def test_everything_arrives_once(filled, reference, here, tmp_path):
    planned = here.fetch(reference, "--dry-run")
    report = here.fetch(reference)
    assert (report["runs"], report["points"]) == (6, 6 * 902)
    assert (planned["files"], planned["bytes"]) == (report["files"], report["bytes"])
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    expected = described(filled, tmp_path / "there")
    with here.client() as client:
        assert described(client, tmp_path / "here") == expected
    assert ("model", "forest") in expected
    again = here.fetch(reference)
    assert {key: again[key] for key in ("runs", "files", "points", "registered_models")} == {
        "runs": 0, "files": 0, "points": 0, "registered_models": 0}


def test_a_version_is_loaded_by_its_alias(filled, reference, here, tmp_path):
    here.fetch(reference, "--model", "forest")
    with here.client() as client:
        version = client.get_model_version_by_alias("forest", "champion")
        assert version.version == "2"
        uri = client.get_model_version_download_uri("forest", "2")
        mlflow.set_tracking_uri(client.tracking_uri)
        local = mlflow.artifacts.download_artifacts(f"{uri}/MLmodel", dst_path=str(tmp_path))
        assert pathlib.Path(local).read_text() == "flavors: {}"


def test_a_prompt_comes_along(filled, reference, here):
    here.fetch(reference)
    with here.client() as client:
        mlflow.set_tracking_uri(client.tracking_uri)
        mlflow.set_registry_uri(client.tracking_uri)
        assert mlflow.genai.load_prompt("prompts:/greet/1").template == "Hello {{name}}"


def test_a_source_that_is_not_there_is_named(here):
    with socket.socket() as silent:
        # Bound and never listening: nobody else can answer there.
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = here.fetch(url, check=False)
    assert done.returncode == 1
    assert url in done.stderr
