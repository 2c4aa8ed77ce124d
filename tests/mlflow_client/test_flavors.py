"""Whole workflows: flavors, pyfunc, autologging, nested evaluations, prompts."""

import mlflow
import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

X = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20.0)[::-1]})
Y = (X["a"] > 9).astype(int)


@pytest.fixture(autouse=True)
def place(client, name):
    mlflow.set_experiment(name)
    yield
    mlflow.sklearn.autolog(disable=True)
    while mlflow.active_run():
        mlflow.end_run()


class Adder(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["a"] + model_input["b"]


def test_a_sklearn_model_is_logged_registered_and_loaded(client, name):
    model = LogisticRegression().fit(X, Y)
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(X, Y),
            input_example=X.head(2),
            registered_model_name=name,
        )
    assert client.get_logged_model(info.model_id).source_run_id == run.info.run_id
    client.set_registered_model_alias(name, "champion", 1)
    for uri in (f"models:/{name}@champion", f"models:/{name}/1", info.model_uri):
        loaded = mlflow.pyfunc.load_model(uri)
        assert list(loaded.predict(X)) == list(model.predict(X))
    assert mlflow.sklearn.load_model(f"models:/{name}/latest").coef_.shape == (1, 2)


def test_a_python_model_is_logged_and_loaded_by_alias(client, name):
    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            name="adder", python_model=Adder(), registered_model_name=name, input_example=X.head(1)
        )
    client.set_registered_model_alias(name, "champion", 1)
    loaded = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    assert list(loaded.predict(X)) == [19.0] * 20


def test_autologging(client, name):
    mlflow.sklearn.autolog(log_datasets=False)
    with mlflow.start_run() as run:
        LogisticRegression(C=0.5).fit(X, Y)
    read = client.get_run(run.info.run_id)
    assert read.data.params["C"] == "0.5"
    assert read.data.metrics["training_accuracy_score"] == 1.0
    assert read.data.tags["estimator_name"] == "LogisticRegression"
    assert [m.model_id for m in read.outputs.model_outputs]
    assert mlflow.search_logged_models(
        experiment_ids=[read.info.experiment_id], filter_string="metrics.training_score > 0.5"
    ).shape[0] == 1


def test_autologging_makes_nested_runs_and_logs_datasets(client, name):
    mlflow.sklearn.autolog(max_tuning_runs=3)
    with mlflow.start_run() as run:
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=2).fit(X, Y)
    children = client.search_runs(
        [run.info.experiment_id], f"tags.mlflow.parentRunId = '{run.info.run_id}'"
    )
    assert sorted(child.data.params["C"] for child in children) == ["0.1", "1.0", "10.0"]
    inputs = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert [i.dataset.name for i in inputs] == ["dataset"]


def test_an_evaluation_is_a_tree_of_runs(client):
    with mlflow.start_run(run_name="evaluation") as parent:
        for fold in range(3):
            with mlflow.start_run(nested=True, run_name=f"fold {fold}"):
                mlflow.log_param("fold", fold)
                mlflow.log_metrics({"auc": fold / 10, "loss": 1 - fold / 10}, step=fold)
                with mlflow.start_run(nested=True, run_name="inner"):
                    mlflow.log_table({"x": [1, 2]}, "table.json")
        mlflow.log_metric("mean_auc", 0.1)
    experiment = parent.info.experiment_id
    folds = client.search_runs(
        [experiment],
        f"tags.mlflow.parentRunId = '{parent.info.run_id}' AND metrics.auc >= 0.1",
        order_by=["metrics.auc DESC"],
    )
    assert [run.info.run_name for run in folds] == ["fold 2", "fold 1"]
    inner = client.search_runs([experiment], "run_name = 'inner'")
    assert len(inner) == 3
    assert mlflow.get_parent_run(inner[0].info.run_id).info.run_name.startswith("fold")
    assert mlflow.load_table("table.json", run_ids=[inner[0].info.run_id]).shape == (2, 1)


def test_models_are_copied_between_names(client, name):
    with mlflow.start_run():
        mlflow.pyfunc.log_model(name="adder", python_model=Adder(), registered_model_name=name)
    copied = client.copy_model_version(f"models:/{name}/1", f"{name}-prod")
    again = client.copy_model_version(f"models:/{name}-prod/{copied.version}", f"{name}-far")
    assert list(mlflow.pyfunc.load_model(f"models:/{again.name}/1").predict(X)) == [19.0] * 20
    client.delete_registered_model(f"{name}-far")
    with pytest.raises(MlflowException):
        mlflow.pyfunc.load_model(f"models:/{name}-far/1")


def test_prompts(client, name):
    first = mlflow.genai.register_prompt(
        name=name, template="Hello {{who}}", commit_message="first", tags={"team": "risk"}
    )
    second = mlflow.genai.register_prompt(name=name, template="Goodbye {{who}}")
    assert (first.version, second.version) == (1, 2)
    mlflow.genai.set_prompt_alias(name, alias="live", version=1)
    assert mlflow.genai.load_prompt(f"prompts:/{name}@live").format(who="you") == "Hello you"
    assert mlflow.genai.load_prompt(name, version=2).template == "Goodbye {{who}}"
    mlflow.genai.set_prompt_alias(name, alias="live", version=2)
    assert mlflow.genai.load_prompt(f"prompts:/{name}@live").version == 2
    found = mlflow.genai.search_prompts(filter_string=f"name = '{name}'")
    assert [prompt.name for prompt in found] == [name]
    assert client.search_registered_models(f"name = '{name}'") == []
    client.set_prompt_version_tag(name, 1, "reviewed", "yes")
    assert client.get_prompt_version(name, 1).tags["reviewed"] == "yes"
    assert sorted(int(version.version) for version in client.search_prompt_versions(name)) == [1, 2]
    mlflow.genai.delete_prompt_alias(name, alias="live")
    with pytest.raises(MlflowException):
        mlflow.genai.load_prompt(f"prompts:/{name}@live")
    with pytest.raises(MlflowException, match="not found|does not exist"):
        mlflow.genai.load_prompt(f"prompts:/{name}/9")


def test_a_chat_prompt_keeps_its_messages(client, name):
    messages = [
        {"role": "system", "content": "You are {{style}}."},
        {"role": "user", "content": "{{question}}"},
    ]
    mlflow.genai.register_prompt(name=name, template=messages)
    loaded = mlflow.genai.load_prompt(name, version=1)
    assert loaded.format(style="kind", question="Why?")[1] == {"role": "user", "content": "Why?"}


def test_a_prompt_and_a_model_share_no_name(client, name):
    mlflow.genai.register_prompt(name=name, template="x")
    with pytest.raises(MlflowException) as error:
        client.create_registered_model(name)
    assert error.value.error_code == "RESOURCE_ALREADY_EXISTS"


def test_metrics_of_a_model_are_found_by_it(client):
    model = mlflow.create_external_model(name="far", params={"size": "7b"})
    with mlflow.start_run():
        mlflow.log_metric("auc", 0.8, step=1, model_id=model.model_id)
        mlflow.log_metric("auc", 0.9, step=2, model_id=model.model_id)
    read = mlflow.get_logged_model(model.model_id)
    assert sorted((m.step, m.value) for m in read.metrics) == [(1, 0.8), (2, 0.9)]
    mlflow.set_logged_model_tags(model.model_id, {"stage": "test"})
    mlflow.finalize_logged_model(model.model_id, "READY")
    assert mlflow.get_logged_model(model.model_id).tags["stage"] == "test"
