"""What runs read: datasets and logged models."""

import mlflow
import pandas as pd
import pytest
from mlflow.entities import DatasetInput, InputTag
from mlflow.exceptions import MlflowException


@pytest.fixture
def frame():
    return pd.DataFrame({"price": [1.0, 2.0], "label": [0, 1]})


def test_datasets_are_logged_and_read(client, experiment, frame):
    dataset = mlflow.data.from_pandas(frame, name="candles", targets="label")
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_input(dataset, context="training")
        mlflow.log_input(dataset, context="ignored")
        mlflow.log_input(mlflow.data.from_pandas(frame + 1, name="later"), tags={"a": "b"})
    inputs = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert [i.dataset.name for i in inputs] == ["candles", "later"]
    assert inputs[0].dataset.digest == dataset.digest
    assert inputs[0].dataset.source_type == "code"
    assert {t.key: t.value for t in inputs[0].tags} == {"mlflow.data.context": "training"}
    assert {t.key: t.value for t in inputs[1].tags} == {"a": "b"}
    schema = mlflow.data.get_source(inputs[0])
    assert schema is not None
    found = mlflow.search_runs([experiment], "dataset.name = 'candles'", output_format="list")
    assert [r.info.run_id for r in found] == [run.info.run_id]
    assert found[0].inputs.dataset_inputs[0].dataset.profile == inputs[0].dataset.profile
    for filter_string, count in [
        (f"dataset.digest = '{dataset.digest}'", 1),
        ("dataset.context IN ('training')", 1),
        ("dataset.context = 'evaluation'", 0),
    ]:
        assert len(client.search_runs([experiment], filter_string)) == count, filter_string


def test_bad_datasets_are_refused(client, run_id, frame):
    dataset = mlflow.data.from_pandas(frame)._to_mlflow_entity()
    with pytest.raises(MlflowException) as error:
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("a", "b" * 501)])])
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"


def test_metrics_about_datasets(client, experiment, frame):
    dataset = mlflow.data.from_pandas(frame, name="test-set")
    with mlflow.start_run(experiment_id=experiment):
        model = mlflow.initialize_logged_model("forest")
        mlflow.log_metric("auc", 0.75, dataset=dataset, model_id=model.model_id)
        mlflow.finalize_logged_model(model.model_id, "READY")
    shown = mlflow.get_logged_model(model.model_id)
    assert [(m.key, m.value, m.dataset_name) for m in shown.metrics] == [("auc", 0.75, "test-set")]

    def search(**arguments):
        found = client.search_logged_models([experiment], **arguments)
        return [m.model_id for m in found]

    about = [{"dataset_name": "test-set", "dataset_digest": dataset.digest}]
    assert search(filter_string="metrics.auc > 0.7", datasets=about) == [model.model_id]
    assert search(filter_string="metrics.auc > 0.7", datasets=[{"dataset_name": "x"}]) == []
    assert search(datasets=about) == [model.model_id]


def test_models_that_a_run_reads(client, experiment):
    with mlflow.start_run(experiment_id=experiment) as run:
        model = mlflow.initialize_logged_model("forest")
        mlflow.finalize_logged_model(model.model_id, "READY")
    from mlflow.entities import LoggedModelInput

    client.log_inputs(run.info.run_id, models=[LoggedModelInput(model.model_id)])
    inputs = client.get_run(run.info.run_id).inputs
    assert [m.model_id for m in inputs.model_inputs] == [model.model_id]
