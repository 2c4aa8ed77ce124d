"""Experiments, runs, metrics, params and tags."""

import math
import time

import mlflow
import pytest
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException


def test_experiments_are_created_found_changed_deleted_and_restored(client, name):
    tags = {"team": "risk", "größe": "groß"}
    experiment_id = client.create_experiment(name, tags=tags)
    experiment = client.get_experiment(experiment_id)
    assert experiment.name == name
    assert experiment.tags == tags
    assert experiment.lifecycle_stage == "active"
    assert experiment.artifact_location == f"mlflow-artifacts:/{experiment_id}"
    assert abs(experiment.creation_time - time.time() * 1000) < 60_000
    assert client.get_experiment_by_name(name).experiment_id == experiment_id
    assert client.get_experiment_by_name(name + "x") is None
    client.set_experiment_tag(experiment_id, "team", "alpha")
    client.delete_experiment_tag(experiment_id, "größe")
    assert client.get_experiment(experiment_id).tags == {"team": "alpha"}
    client.rename_experiment(experiment_id, name + "-2")
    with pytest.raises(MlflowException, match="already exists") as error:
        client.create_experiment(name + "-2")
    assert error.value.error_code == "RESOURCE_ALREADY_EXISTS"
    client.delete_experiment(experiment_id)
    assert client.get_experiment(experiment_id).lifecycle_stage == "deleted"
    with pytest.raises(MlflowException, match="active"):
        client.create_run(experiment_id)
    client.restore_experiment(experiment_id)
    assert client.get_experiment(experiment_id).lifecycle_stage == "active"


def test_a_deleted_experiment_is_not_renamed(client, experiment, name):
    client.delete_experiment(experiment)
    with pytest.raises(MlflowException) as error:
        client.rename_experiment(experiment, name + "-2")
    assert error.value.error_code == "INVALID_STATE"


def test_a_missing_experiment_is_not_found(client):
    with pytest.raises(MlflowException) as error:
        client.get_experiment("987654")
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert error.value.get_http_status_code() == 404


def test_experiments_are_searched(client, name):
    ids = [client.create_experiment(f"{name}-{i}", tags={"n": str(i)}) for i in range(5)]
    found = client.search_experiments(filter_string=f"name LIKE '{name}-%'", order_by=["name ASC"])
    assert [e.experiment_id for e in found] == ids
    found = client.search_experiments(filter_string=f"name ILIKE '{name.upper()}%' AND tags.n = '3'")
    assert [e.experiment_id for e in found] == [ids[3]]
    found = client.search_experiments(filter_string=f"name LIKE '{name.upper()}%'")
    assert found == []
    client.delete_experiment(ids[0])
    both = client.search_experiments(ViewType.ALL, filter_string=f"name LIKE '{name}%'")
    assert len(both) == 5
    page = client.search_experiments(max_results=2, filter_string=f"name LIKE '{name}%'")
    assert len(page) == 2 and page.token
    rest = client.search_experiments(
        max_results=10, filter_string=f"name LIKE '{name}%'", page_token=page.token
    )
    assert len(rest) == 2 and not rest.token
    ours = client.search_experiments(filter_string=f"experiment_id = '{ids[2]}'")
    assert [e.experiment_id for e in ours] == [ids[2]]
    with pytest.raises(MlflowException) as error:
        client.search_experiments(filter_string="nothing = 'x'")
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"


def test_the_fluent_api_logs_a_whole_run(client, name):
    mlflow.set_experiment(name)
    with mlflow.start_run(run_name="first", tags={"a": "b"}, description="what it is") as run:
        mlflow.log_params({"lr": 0.1, "depth": 3})
        mlflow.log_metric("auc", 0.5, step=0)
        mlflow.log_metrics({"auc": 0.75, "loss": 0.25}, step=1)
        mlflow.set_tag("stage", "test")
    read = mlflow.get_run(run.info.run_id)
    assert read.info.run_name == "first"
    assert read.info.status == "FINISHED"
    assert read.info.end_time >= read.info.start_time
    assert read.data.params == {"lr": "0.1", "depth": "3"}
    assert read.data.metrics == {"auc": 0.75, "loss": 0.25}
    assert read.data.tags["stage"] == "test"
    assert read.data.tags["mlflow.note.content"] == "what it is"
    assert read.info.artifact_uri.endswith(f"/{run.info.run_id}/artifacts")


def test_a_run_that_fails_says_so(client, name):
    mlflow.set_experiment(name)
    with pytest.raises(ValueError), mlflow.start_run() as run:
        raise ValueError
    assert mlflow.get_run(run.info.run_id).info.status == "FAILED"


def test_unnamed_runs_get_a_name(client, run_id):
    run = client.get_run(run_id)
    assert len(run.info.run_name.split("-")) == 3
    assert run.data.tags["mlflow.runName"] == run.info.run_name


def test_the_name_and_its_tag_mirror_each_other(client, run_id):
    client.update_run(run_id, name="new")
    assert client.get_run(run_id).data.tags["mlflow.runName"] == "new"
    client.set_tag(run_id, "mlflow.runName", "newer")
    assert client.get_run(run_id).info.run_name == "newer"


def test_nested_runs_know_their_parent(client, name):
    mlflow.set_experiment(name)
    with mlflow.start_run() as parent:
        with mlflow.start_run(nested=True) as child:
            mlflow.log_param("fold", 1)
    found = mlflow.search_runs(
        experiment_names=[name],
        filter_string=f"tags.mlflow.parentRunId = '{parent.info.run_id}'",
    )
    assert list(found.run_id) == [child.info.run_id]
    assert mlflow.get_parent_run(child.info.run_id).info.run_id == parent.info.run_id


def test_metrics_keep_nan_and_the_infinities(client, run_id):
    for step, value in enumerate([1.5, math.nan, math.inf, -math.inf]):
        client.log_metric(run_id, f"m{step}", value, step=step)
    metrics = client.get_run(run_id).data.metrics
    assert metrics["m0"] == 1.5
    assert math.isnan(metrics["m1"])
    assert metrics["m2"] == pytest.approx(1.7976931348623157e308)
    assert metrics["m3"] == pytest.approx(-1.7976931348623157e308)
    [point] = client.get_metric_history(run_id, "m1")
    assert math.isnan(point.value)


def test_the_latest_metric_is_the_greatest_step_then_time_then_value(client, run_id):
    points = [(5, 10, 0.5), (4, 99, 9.0), (5, 11, 0.25), (5, 11, 0.125)]
    for step, timestamp, value in points:
        client.log_metric(run_id, "m", value, timestamp=timestamp, step=step)
        client.log_metric(run_id, "m", value, timestamp=timestamp, step=step)
    assert client.get_run(run_id).data.metrics["m"] == 0.25
    history = client.get_metric_history(run_id, "m")
    assert [(p.timestamp, p.step, p.value) for p in history] == [
        (10, 5, 0.5),
        (11, 5, 0.125),
        (11, 5, 0.25),
        (99, 4, 9.0),
    ]


def test_a_long_history_is_read_whole(client, run_id):
    for start in range(0, 10_000, 1000):
        batch = [Metric("long", i * 0.5, 1_700_000_000_000 + i, i) for i in range(start, start + 1000)]
        client.log_batch(run_id, metrics=batch)
    history = client.get_metric_history(run_id, "long")
    assert [p.step for p in history] == list(range(10_000))
    assert history[-1].value == 4999.5


def test_a_batch_is_all_or_nothing(client, run_id):
    client.log_param(run_id, "p", "1")
    client.log_param(run_id, "p", "1")
    with pytest.raises(MlflowException, match="Changing param values is not allowed") as error:
        client.log_batch(
            run_id,
            metrics=[Metric("m", 1.0, 1, 0)],
            params=[Param("q", "x"), Param("p", "2")],
            tags=[RunTag("t", "x")],
        )
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"
    data = client.get_run(run_id).data
    assert data.params == {"p": "1"}
    assert "m" not in data.metrics and "t" not in data.tags


def test_unicode_and_long_texts_survive(client, run_id):
    text = "Ελληνικά 日本語 🦀 ' \" \\ % _ \n\t"
    client.log_param(run_id, "größe", text)
    client.set_tag(run_id, "ключ", text)
    client.log_metric(run_id, "métrique/a b", 1.0)
    client.log_param(run_id, "long", "x" * 6000)
    data = client.get_run(run_id).data
    assert data.params["größe"] == text
    assert data.tags["ключ"] == text
    assert data.metrics["métrique/a b"] == 1.0
    assert data.params["long"] == "x" * 6000


def test_large_integers_survive(client, run_id):
    stamp = 2**53 + 1
    client.log_metric(run_id, "m", 1.0, timestamp=stamp, step=2**62 + 1)
    [point] = client.get_metric_history(run_id, "m")
    assert point.timestamp == stamp and point.step == 2**62 + 1


def test_tags_are_deleted(client, run_id):
    client.set_tag(run_id, "t", "1")
    client.delete_tag(run_id, "t")
    assert "t" not in client.get_run(run_id).data.tags
    with pytest.raises(MlflowException):
        client.delete_tag(run_id, "t")


def test_runs_are_deleted_and_restored(client, experiment, run_id):
    client.delete_run(run_id)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    assert client.search_runs([experiment]) == []
    assert len(client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)) == 1
    with pytest.raises(MlflowException, match="active"):
        client.log_metric(run_id, "m", 1.0)
    client.restore_run(run_id)
    client.log_metric(run_id, "m", 1.0)


@pytest.fixture
def grid(client, experiment):
    """Six runs: lr 0..5, auc = lr / 10 but NaN for 4 and missing for 5."""
    ids = []
    for i in range(6):
        run = client.create_run(experiment, run_name=f"Run-{i}", start_time=1000 + i)
        ids.append(run.info.run_id)
        client.log_param(ids[-1], "lr", str(i))
        client.set_tag(ids[-1], "a b.c", "Even" if i % 2 == 0 else "odd")
        if i < 5:
            client.log_metric(ids[-1], "auc", math.nan if i == 4 else i / 10)
        if i == 0:
            client.set_terminated(ids[-1], "FINISHED", end_time=5000)
    return experiment, ids


@pytest.mark.parametrize(
    ("filter_string", "expected"),
    [
        ("", [5, 4, 3, 2, 1, 0]),
        ("metrics.auc > 0.15", [3, 2]),
        ("metrics.auc >= 0.2 and metrics.auc < 0.3", [2]),
        ("metrics.auc = 0", [0]),
        ("metrics.auc != 0.1", [4, 3, 2, 0]),
        ("params.lr = '3'", [3]),
        ("params.lr != '3' AND params.lr LIKE '_'", [5, 4, 2, 1, 0]),
        ("tags.`a b.c` = 'odd'", [5, 3, 1]),
        ("tags.\"a b.c\" LIKE 'E%'", [4, 2, 0]),
        ("tags.`a b.c` LIKE 'e%'", []),
        ("tags.`a b.c` ILIKE 'e%'", [4, 2, 0]),
        ("attributes.status = 'FINISHED'", [0]),
        ("status != 'FINISHED'", [5, 4, 3, 2, 1]),
        ("attributes.run_name = 'Run-2'", [2]),
        ("`Run name` ILIKE 'run-%'", [5, 4, 3, 2, 1, 0]),
        ("start_time > 1003", [5, 4]),
        ("attributes.end_time = 5000", [0]),
        ("params.missing IS NULL AND params.lr IS NOT NULL", [5, 4, 3, 2, 1, 0]),
        ("tags.missing = 'x'", []),
    ],
)
def test_runs_are_filtered(client, grid, filter_string, expected):
    experiment, ids = grid
    found = client.search_runs([experiment], filter_string)
    assert [ids.index(run.info.run_id) for run in found] == expected


def test_runs_are_filtered_by_lists_of_ids(client, grid):
    experiment, ids = grid
    found = client.search_runs([experiment], f"run_id IN ('{ids[1]}', '{ids[4]}')")
    assert {run.info.run_id for run in found} == {ids[1], ids[4]}
    found = client.search_runs([experiment], f"attributes.run_id NOT IN ('{ids[1]}')")
    assert len(found) == 5


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        (["metrics.auc ASC"], [0, 1, 2, 3, 4, 5]),
        (["metrics.auc DESC"], [3, 2, 1, 0, 4, 5]),
        (["params.lr DESC"], [5, 4, 3, 2, 1, 0]),
        (["tags.`a b.c`", "start_time ASC"], [0, 2, 4, 1, 3, 5]),
        (["attributes.start_time ASC"], [0, 1, 2, 3, 4, 5]),
        (["end_time DESC", "run_name"], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_runs_are_sorted(client, grid, order_by, expected):
    experiment, ids = grid
    found = client.search_runs([experiment], order_by=order_by)
    assert [ids.index(run.info.run_id) for run in found] == expected


def test_pages_of_runs_follow_each_other(client, grid):
    experiment, ids = grid
    seen, token = [], None
    while True:
        page = client.search_runs([experiment], max_results=4, page_token=token)
        seen += [run.info.run_id for run in page]
        token = page.token
        if not token:
            break
    assert seen == ids[::-1]
    with pytest.raises(MlflowException) as error:
        client.search_runs([experiment], page_token="garbage")
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"


def test_runs_are_a_data_frame(client, grid):
    experiment, ids = grid
    frame = mlflow.search_runs([experiment], "metrics.auc >= 0.1", order_by=["metrics.auc DESC"])
    assert list(frame.run_id) == [ids[3], ids[2], ids[1]]
    assert list(frame["params.lr"]) == ["3", "2", "1"]
    assert list(frame["metrics.auc"]) == [0.3, 0.2, 0.1]
    everything = mlflow.search_runs(search_all_experiments=True)
    assert set(ids) <= set(everything.run_id)


@pytest.mark.parametrize(
    "filter_string",
    ["metrics.auc > 'x'", "params.lr = 3", "a.b = 'c'", "params.a = 'b' OR params.c = 'd'", "x"],
)
def test_bad_filters_are_refused_with_400(client, experiment, filter_string):
    with pytest.raises(MlflowException) as error:
        client.search_runs([experiment], filter_string)
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"
    assert error.value.get_http_status_code() == 400
