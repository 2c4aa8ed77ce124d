"""What runs read: data sets and logged models."""

import mlflow
import pandas as pd
import pytest
import requests
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput
from mlflow.exceptions import MlflowException

FRAME = pd.DataFrame({"x": [1.0, 2.0], "y": [0, 1]})


@pytest.fixture
def data(name):
    return mlflow.data.from_pandas(FRAME, source="s3://bucket/data.csv", name=name, targets="y")


def test_a_data_set_is_logged_with_its_context(client, name, data):
    mlflow.set_experiment(name)
    with mlflow.start_run() as run:
        mlflow.log_input(data, context="training", tags={"part": "1"})
        mlflow.log_input(data, context="training", tags={"part": "1"})
    [found] = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == (name, data.digest)
    assert found.dataset.source_type == "s3" and "bucket" in found.dataset.source
    assert {tag.key: tag.value for tag in found.tags} == {
        "mlflow.data.context": "training",
        "part": "1",
    }
    loaded = mlflow.data.get_source(found.dataset)
    assert loaded.uri == "s3://bucket/data.csv"


def test_a_data_set_is_one_input_of_its_run(client, experiment):
    first = mlflow.data.from_pandas(FRAME, name="candles", targets="y")
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_input(first, context="training")
        mlflow.log_input(first, context="ignored")
        mlflow.log_input(mlflow.data.from_pandas(FRAME + 1, name="later"), tags={"a": "b"})
    inputs = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert [i.dataset.name for i in inputs] == ["candles", "later"]
    assert inputs[0].dataset.digest == first.digest
    assert inputs[0].dataset.source_type == "code"
    assert {t.key: t.value for t in inputs[0].tags} == {"mlflow.data.context": "training"}
    assert {t.key: t.value for t in inputs[1].tags} == {"a": "b"}
    assert mlflow.data.get_source(inputs[0]) is not None
    [found] = client.search_runs([experiment], "dataset.name = 'candles'")
    assert found.info.run_id == run.info.run_id
    assert [dict(i.dataset) for i in found.inputs.dataset_inputs] == [dict(i.dataset) for i in inputs]


def test_runs_are_found_by_their_data_sets(client, name, data):
    experiment = mlflow.set_experiment(name).experiment_id
    other = mlflow.data.from_pandas(FRAME * 2, source="s3://bucket/b.csv", name=f"{name}-b")
    ids = []
    for inputs in ([(data, "train")], [(data, "eval"), (other, "train")], []):
        with mlflow.start_run() as run:
            for dataset, context in inputs:
                mlflow.log_input(dataset, context=context)
        ids.append(run.info.run_id)
    for text, expected in (
        (f"dataset.name = '{name}'", [0, 1]),
        (f"dataset.name != '{name}'", [1]),
        (f"dataset.name LIKE '{name}%'", [0, 1]),
        (f"datasets.name ILIKE '{name.upper()}-B'", [1]),
        (f"dataset.digest = '{data.digest}'", [0, 1]),
        ("dataset.context = 'train'", [0, 1]),
        ("dataset.context = 'eval'", [1]),
        ("dataset.context IN ('train')", [0, 1]),
        ("dataset.context = 'nothing'", []),
        (f"dataset.name IN ('{name}-b', 'nothing')", [1]),
        (f"dataset.name = '{name}' AND dataset.context = 'eval'", [1]),
    ):
        found = client.search_runs([experiment], text)
        assert sorted(ids.index(run.info.run_id) for run in found) == expected, text


def test_raw_data_sets_survive(client, run_id):
    dataset = Dataset("größe", "abc123", "local", '{"uri": "/x"}', schema='{"a": 1}', profile="{}")
    client.log_inputs(run_id, datasets=[DatasetInput(dataset, [InputTag("k", "v" * 500)])])
    [found] = client.get_run(run_id).inputs.dataset_inputs
    assert dict(found.dataset) == dict(dataset)
    assert found.tags[0].value == "v" * 500


def test_the_data_sets_of_an_experiment_are_listed(server, client, name, data):
    experiment = mlflow.set_experiment(name).experiment_id
    with mlflow.start_run():
        mlflow.log_input(data, context="training")
    answer = requests.post(
        f"{server}/ajax-api/2.0/mlflow/experiments/search-datasets",
        json={"experiment_ids": [experiment]},
        timeout=30,
    )
    assert answer.status_code == 200
    [summary] = answer.json()["dataset_summaries"]
    assert (summary["name"], summary["digest"]) == (name, data.digest)
    assert (summary["experiment_id"], summary["context"]) == (experiment, "training")


def test_metrics_are_about_data_sets(client, name, data):
    experiment = mlflow.set_experiment(name).experiment_id
    with mlflow.start_run():
        model = mlflow.initialize_logged_model(name="forest")
        mlflow.log_metric("auc", 0.9, step=1, dataset=data, model_id=model.model_id)
        mlflow.finalize_logged_model(model.model_id, "READY")
    [metric] = client.get_logged_model(model.model_id).metrics
    assert (metric.key, metric.value) == ("auc", 0.9)
    assert (metric.dataset_name, metric.dataset_digest) == (name, data.digest)
    for dataset, count in ((name, 1), ("another", 0)):
        found = client.search_logged_models(
            [experiment],
            filter_string="metrics.auc > 0.5",
            datasets=[{"dataset_name": dataset, "dataset_digest": data.digest}],
        )
        assert len(found) == count
    about = [{"dataset_name": name, "dataset_digest": data.digest}]
    assert len(client.search_logged_models([experiment], datasets=about)) == 1


def test_a_data_set_is_named_without_its_digest(client, name, data):
    experiment = mlflow.set_experiment(name).experiment_id
    with mlflow.start_run():
        model = mlflow.initialize_logged_model(name="forest")
        mlflow.log_metric("auc", 0.9, dataset=data, model_id=model.model_id)
    found = client.search_logged_models([experiment], datasets=[{"dataset_name": name}])
    assert [m.model_id for m in found] == [model.model_id]


def test_inputs_of_a_run_that_is_not_there(client):
    dataset = Dataset("a", "b", "local", "{}")
    with pytest.raises(MlflowException) as error:
        client.log_inputs("0" * 32, datasets=[DatasetInput(dataset)])
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_bad_data_sets_are_refused(client, run_id, data):
    dataset = DatasetInput(data._to_mlflow_entity(), [InputTag("a", "b" * 501)])
    with pytest.raises(MlflowException) as error:
        client.log_inputs(run_id, datasets=[dataset])
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"


def test_models_that_a_run_reads(client, experiment):
    with mlflow.start_run(experiment_id=experiment) as run:
        model = mlflow.initialize_logged_model("forest")
        mlflow.finalize_logged_model(model.model_id, "READY")
    client.log_inputs(run.info.run_id, models=[LoggedModelInput(model.model_id)])
    inputs = client.get_run(run.info.run_id).inputs
    assert [m.model_id for m in inputs.model_inputs] == [model.model_id]
