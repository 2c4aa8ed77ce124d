"""Limits, long texts, long histories, strange numbers."""

import math

import pytest
import requests
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException


def test_long_texts_are_cut(client, run_id):
    client.log_param(run_id, "p", "ä" * 6001)
    client.set_tag(run_id, "t", "ä" * 8001)
    data = client.get_run(run_id).data
    assert data.params["p"] == "ä" * 6000
    assert data.tags["t"] == "ä" * 8000


@pytest.mark.parametrize(
    "entities",
    [
        {"metrics": [Metric("m", 1.0, 1, i) for i in range(1001)]},
        {"params": [Param(f"p{i}", "1") for i in range(101)]},
        {"tags": [RunTag(f"t{i}", "1") for i in range(101)]},
        {
            "metrics": [Metric("m", 1.0, 1, i) for i in range(950)],
            "params": [Param(f"p{i}", "1") for i in range(51)],
        },
    ],
    ids=["metrics", "params", "tags", "all"],
)
def test_batches_have_limits(client, run_id, entities):
    # The client would split them; its store doesn't.
    whole = {"metrics": [], "params": [], "tags": [], **entities}
    with pytest.raises(MlflowException) as error:
        client._tracking_client.store.log_batch(run_id, **whole)
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"
    data = client.get_run(run_id).data
    assert not data.metrics and not data.params


def test_a_full_batch_is_taken(client, run_id):
    client.log_batch(
        run_id,
        metrics=[Metric(f"m{i}", float(i), 1, 0) for i in range(800)],
        params=[Param(f"p{i}", str(i)) for i in range(100)],
        tags=[RunTag(f"t{i}", str(i)) for i in range(100)],
    )
    data = client.get_run(run_id).data
    assert len(data.metrics) == 800 and len(data.params) == 100
    assert sum(key.startswith("t") for key in data.tags) == 100


def test_doubled_params_of_a_batch_are_refused(client, run_id):
    with pytest.raises(MlflowException) as error:
        client.log_batch(run_id, params=[Param("p", "1"), Param("p", "2")])
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"
    assert client.get_run(run_id).data.params == {}


def test_doubled_points_are_one(client, run_id):
    point = Metric("m", 0.5, 10, 1)
    client.log_batch(run_id, metrics=[point, point, Metric("m", 0.5, 10, 2)])
    client.log_batch(run_id, metrics=[point])
    assert [p.step for p in client.get_metric_history(run_id, "m")] == [1, 2]


@pytest.mark.parametrize(
    "key", ["a//b", "/a", "../a", ".", "a;b", "x" * 251, "a\tb", "a'b"], ids=lambda key: key[:8]
)
def test_bad_keys_are_refused(client, run_id, key):
    for log in (
        lambda: client.log_metric(run_id, key, 1.0),
        lambda: client.log_param(run_id, key, "1"),
        lambda: client.set_tag(run_id, key, "1"),
    ):
        with pytest.raises(MlflowException) as error:
            log()
        assert error.value.error_code == "INVALID_PARAMETER_VALUE"


def test_keys_of_250_characters_are_taken(client, run_id):
    key = "größe/" + "k" * 244
    client.log_metric(run_id, key, 1.0)
    client.log_param(run_id, key, "1")
    client.set_tag(run_id, key, "1")
    data = client.get_run(run_id).data
    assert data.metrics == {key: 1.0} and data.params == {key: "1"} and data.tags[key] == "1"


def test_a_history_of_10_000_steps_is_paged_and_whole(client, run_id):
    for start in range(0, 10_000, 1000):
        points = [Metric("m", i / 7, 1_000 + i, i) for i in range(start, start + 1000)]
        client.log_batch(run_id, metrics=points)
    store = client._tracking_client.store
    steps, token = [], None
    while True:
        page = store.get_metric_history(run_id, "m", max_results=3_000, page_token=token)
        assert len(page) <= 3_000
        steps += [point.step for point in page]
        token = page.token
        if not token:
            break
    assert steps == list(range(10_000))
    assert [p.step for p in client.get_metric_history(run_id, "m")] == steps
    assert client.get_run(run_id).data.metrics["m"] == 9999 / 7


def test_thinned_histories_keep_both_ends(client, experiment):
    ids = []
    for shift in range(2):
        run = client.create_run(experiment).info.run_id
        ids.append(run)
        points = [Metric("m", float(i), 1_000 + i, i + shift) for i in range(1000)]
        client.log_batch(run, metrics=points)
    store = client._tracking_client.store
    found = store.get_metric_history_bulk_interval(ids, "m", 50, None, None)
    for shift, run in enumerate(ids):
        steps = [point.step for point in found if point.run_id == run]
        assert steps == sorted(steps)
        assert steps[0] == shift and steps[-1] == 999 + shift
        assert 2 <= len(steps) <= 110
    found = store.get_metric_history_bulk_interval(ids[:1], "m", 1000, 10, 20)
    assert [point.step for point in found] == list(range(10, 21))


def test_histories_of_many_runs_come_together(client, server, experiment):
    ids = sorted(client.create_run(experiment).info.run_id for _ in range(2))
    for run in ids:
        client.log_batch(run, metrics=[Metric("m", i / 2, 1000 - i, i) for i in range(10)])

    def history(**query):
        return requests.get(
            f"{server}/ajax-api/2.0/mlflow/metrics/get-history-bulk", params=query, timeout=30
        )

    points = history(run_id=[*reversed(ids), "0" * 32, ids[0]], metric_key="m").json()["metrics"]
    assert [point["run_id"] for point in points] == [ids[0]] * 10 + [ids[1]] * 10
    assert points[0] == {"key": "m", "value": 4.5, "timestamp": 991, "step": 9, "run_id": ids[0]}
    assert [point["step"] for point in points[10:]] == list(range(9, -1, -1))
    limited = history(run_id=ids, metric_key="m", max_results=12).json()["metrics"]
    assert limited == points[:12]
    assert history(run_id=ids[0], metric_key="nothing").json() == {"metrics": []}
    for wrong in (
        {"metric_key": "m"},
        {"run_id": ids},
        {"run_id": ["0" * 32] * 101, "metric_key": "m"},
    ):
        answer = history(**wrong)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_strange_numbers_in_a_batch(client, run_id):
    values = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308]
    client.log_batch(run_id, metrics=[Metric(f"m{i}", v, 1, 0) for i, v in enumerate(values)])
    metrics = client.get_run(run_id).data.metrics
    assert math.isnan(metrics["m0"])
    assert [metrics[f"m{i}"] for i in range(1, 6)] == [
        1.7976931348623157e308,
        -1.7976931348623157e308,
        0.0,
        5e-324,
        1.7976931348623157e308,
    ]


def test_many_tags_of_a_new_run_survive(client, experiment):
    tags = {f"tag {i}": "ß" * 500 for i in range(300)}
    run = client.create_run(experiment, tags=tags)
    read = client.get_run(run.info.run_id).data.tags
    assert {key: read[key] for key in tags} == tags


def test_long_tags_of_experiments_and_models(client, experiment, name):
    client.set_experiment_tag(experiment, "long", "x" * 20_000)
    assert len(client.get_experiment(experiment).tags["long"]) == 20_000
    client.create_registered_model(name, description="d" * 5000)
    client.set_registered_model_tag(name, "long", "x" * 100_000)
    with pytest.raises(MlflowException) as error:
        client.set_registered_model_tag(name, "longer", "x" * 100_001)
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"
    model = client.get_registered_model(name)
    assert len(model.tags["long"]) == 100_000 and len(model.description) == 5000
