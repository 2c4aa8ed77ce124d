"""Registered models, versions, aliases, and logged models."""

import os

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model, get_model_info, infer_signature

MLMODEL = """\
artifact_path: model
flavors:
  python_function:
    loader_module: nothing
    python_version: 3.11.0
mlflow_version: 3.17.2
model_uuid: 0123456789abcdef0123456789abcdef
run_id: {run_id}
signature:
  inputs: '[{{"type": "double", "name": "x", "required": true}}]'
  outputs: '[{{"type": "double", "name": "score", "required": true}}]'
utc_time_created: '2026-01-01 00:00:00.000000'
"""


@pytest.fixture
def model_uri(client, run_id, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text(MLMODEL.format(run_id=run_id))
    (folder / "forest.bin").write_bytes(b"\0\1\2")
    client.log_artifacts(run_id, folder, "model")
    return f"{client.get_run(run_id).info.artifact_uri}/model"


def test_models_are_created_changed_and_deleted(client, name):
    model = client.create_registered_model(name, tags={"a": "1"}, description="d")
    assert (model.name, model.description, model.tags) == (name, "d", {"a": "1"})
    with pytest.raises(MlflowException) as error:
        client.create_registered_model(name)
    assert error.value.error_code == "RESOURCE_ALREADY_EXISTS"
    assert error.value.get_http_status_code() == 400
    client.update_registered_model(name, "e")
    client.set_registered_model_tag(name, "b", "2")
    client.delete_registered_model_tag(name, "a")
    model = client.get_registered_model(name)
    assert (model.description, model.tags) == ("e", {"b": "2"})
    client.rename_registered_model(name, name + "-2")
    with pytest.raises(MlflowException) as error:
        client.get_registered_model(name)
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    client.delete_registered_model(name + "-2")
    with pytest.raises(MlflowException):
        client.get_registered_model(name + "-2")


def test_versions_and_aliases(client, name, run_id, model_uri):
    client.create_registered_model(name)
    first = client.create_model_version(name, model_uri, run_id, tags={"t": "1"}, description="d")
    second = client.create_model_version(name, model_uri, run_id)
    assert (first.version, second.version) == ("1", "2") or (first.version, second.version) == (1, 2)
    assert first.status == "READY" and first.run_id == run_id and first.source == model_uri
    client.set_registered_model_alias(name, "champion", 1)
    client.set_registered_model_alias(name, "challenger", 2)
    assert int(client.get_model_version_by_alias(name, "champion").version) == 1
    client.set_registered_model_alias(name, "champion", 2)
    version = client.get_model_version(name, 2)
    assert sorted(version.aliases) == ["challenger", "champion"]
    assert set(client.get_registered_model(name).aliases) == {"champion", "challenger"}
    client.delete_registered_model_alias(name, "challenger")
    with pytest.raises(MlflowException) as error:
        client.get_model_version_by_alias(name, "challenger")
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"
    client.set_model_version_tag(name, 1, "u", "2")
    client.delete_model_version_tag(name, 1, "t")
    client.update_model_version(name, 1, "new")
    version = client.get_model_version(name, 1)
    assert (version.tags, version.description) == ({"u": "2"}, "new")
    assert client.get_model_version_download_uri(name, 1) == model_uri
    client.delete_model_version(name, 2)
    with pytest.raises(MlflowException):
        client.get_model_version_by_alias(name, "champion")
    third = client.create_model_version(name, model_uri, run_id)
    assert int(third.version) == 3
    client.rename_registered_model(name, name + "-2")
    assert client.get_model_version(name + "-2", 1).tags == {"u": "2"}


def test_stages_still_work(client, name, run_id, model_uri):
    client.create_registered_model(name)
    for _ in range(3):
        client.create_model_version(name, model_uri, run_id)
    client.transition_model_version_stage(name, 1, "Production")
    client.transition_model_version_stage(name, 2, "production", archive_existing_versions=True)
    assert client.get_model_version(name, 1).current_stage == "Archived"
    latest = {v.current_stage: int(v.version) for v in client.get_latest_versions(name)}
    assert latest == {"None": 3, "Production": 2, "Archived": 1}
    assert [int(v.version) for v in client.get_latest_versions(name, ["Production"])] == [2]
    with pytest.raises(MlflowException):
        client.transition_model_version_stage(name, 1, "Nowhere")


def test_models_and_versions_are_searched(client, name, run_id, model_uri):
    for i in range(3):
        client.create_registered_model(f"{name}-{i}", tags={"n": str(i)})
    client.register_prompt(f"{name}-p", "Hello {{x}}")
    found = client.search_registered_models(f"name LIKE '{name}%'", order_by=["name DESC"])
    assert [m.name for m in found] == [f"{name}-{i}" for i in (2, 1, 0)]
    found = client.search_registered_models(f"name ILIKE '{name.upper()}%' AND tags.n = '1'")
    assert [m.name for m in found] == [f"{name}-1"]
    page = client.search_registered_models(f"name LIKE '{name}%'", max_results=2)
    assert len(page) == 2 and page.token
    assert len(client.search_registered_models(f"name LIKE '{name}%'", page_token=page.token)) == 1
    for _ in range(3):
        client.create_model_version(f"{name}-0", model_uri, run_id, tags={"x": "y"})
    versions = client.search_model_versions(f"name = '{name}-0'", order_by=["version_number ASC"])
    assert [int(v.version) for v in versions] == [1, 2, 3]
    assert len(client.search_model_versions(f"run_id = '{run_id}' AND tags.x = 'y'")) == 3
    versions = client.search_model_versions(f"name = '{name}-0' AND version_number > 1")
    assert len(versions) == 2
    assert len(client.search_model_versions(f"source_path = '{model_uri}'")) == 3
    assert client.search_model_versions("name = 'nobody'") == []


@pytest.mark.parametrize(
    "source", ["/etc/passwd", "file:///etc", "{uri}/../../x", "{uri}/%2e%2e/x", "mlflow-artifacts:/0/other"]
)
def test_sources_must_belong_to_the_run(client, name, run_id, model_uri, source):
    client.create_registered_model(name)
    with pytest.raises(MlflowException) as error:
        client.create_model_version(name, source.format(uri=model_uri), run_id)
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"


def test_model_info_is_read_by_version_alias_and_run(client, name, run_id, model_uri):
    version = mlflow.register_model(f"runs:/{run_id}/model", name)
    client.set_registered_model_alias(name, "champion", version.version)
    for uri in (f"models:/{name}/1", f"models:/{name}@champion", f"runs:/{run_id}/model", model_uri):
        info = get_model_info(uri)
        assert info.run_id == run_id
        assert info.signature.inputs.input_names() == ["x"]
    local = mlflow.artifacts.download_artifacts(f"models:/{name}@champion")
    with open(f"{local}/forest.bin", "rb") as file:
        assert file.read() == b"\0\1\2"


def test_a_copied_version_leads_to_the_same_files(client, name, run_id, model_uri):
    mlflow.register_model(f"runs:/{run_id}/model", name)
    copied = client.copy_model_version(f"models:/{name}/1", name + "-copy")
    assert copied.source == f"models:/{name}/1"
    assert client.get_model_version_download_uri(name + "-copy", 1) == model_uri
    assert get_model_info(f"models:/{name}-copy/1").run_id == run_id


def test_logged_models(client, name, experiment, run_id):
    model = client.create_logged_model(
        experiment,
        name="forest",
        source_run_id=run_id,
        tags={"a": "1"},
        params={"trees": "100"},
        model_type="iforest",
    )
    assert model.status == "PENDING" and model.model_id.startswith("m-")
    model = client.finalize_logged_model(model.model_id, "READY")
    assert model.status == "READY"
    client.set_logged_model_tags(model.model_id, {"b": "2"})
    client.delete_logged_model_tag(model.model_id, "a")
    client.log_metric(run_id, "auc", 0.9, step=1, model_id=model.model_id)
    model = client.get_logged_model(model.model_id)
    assert (model.name, model.tags, model.params) == ("forest", {"b": "2"}, {"trees": "100"})
    assert [(m.key, m.value) for m in model.metrics] == [("auc", 0.9)]
    for filter_string, count in [
        ("name = 'forest'", 1),
        ("params.trees = '100' AND tags.b = '2'", 1),
        ("metrics.auc > 0.8", 1),
        ("metrics.auc > 0.95", 0),
        ("source_run_id = '%s'" % run_id, 1),
    ]:
        found = client.search_logged_models([experiment], filter_string=filter_string)
        assert len(found) == count, filter_string
    found = client.search_logged_models(
        [experiment], order_by=[{"field_name": "metrics.auc", "ascending": False}]
    )
    assert [m.model_id for m in found] == [model.model_id]
    client.delete_logged_model(model.model_id)
    assert client.search_logged_models([experiment]) == []


class Flavor:
    """The smallest flavor: what `mlflow.<flavor>.log_model` hands to `Model.log`."""

    @staticmethod
    def save_model(path, mlflow_model, signature=None, **_):
        os.makedirs(path)
        with open(os.path.join(path, "weights.bin"), "wb") as file:
            file.write(b"weights")
        mlflow_model.signature = signature
        mlflow_model.add_flavor("tiny", data="weights.bin")
        mlflow_model.save(os.path.join(path, "MLmodel"))


def test_a_flavor_logs_and_registers_a_model(client, name):
    mlflow.set_experiment(name)
    with mlflow.start_run() as run:
        info = Model.log(
            artifact_path=None,
            name="forest",
            flavor=Flavor,
            registered_model_name=name,
            signature=infer_signature(pd.DataFrame({"x": [1.0]}), pd.DataFrame({"score": [0.5]})),
        )
    assert info.model_id.startswith("m-")
    logged = client.get_logged_model(info.model_id)
    assert logged.status == "READY" and logged.source_run_id == run.info.run_id
    run = client.get_run(run.info.run_id)
    assert [m.model_id for m in run.outputs.model_outputs] == [info.model_id]
    version = client.get_model_version(name, 1)
    assert version.source == f"models:/{info.model_id}"
    for uri in (f"models:/{name}/1", f"models:/{info.model_id}", info.model_uri):
        assert get_model_info(uri).signature is not None
        local = mlflow.artifacts.download_artifacts(uri)
        with open(f"{local}/weights.bin", "rb") as file:
            assert file.read() == b"weights"
