"""Searching: every comparator, every order, every page."""

import math

import mlflow
import pytest
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException


@pytest.fixture(scope="module")
def world(server, request):
    """Runs 0 to 9 of one experiment; ten models; versions 1 to 5 of one of them."""
    client = mlflow.MlflowClient(server, server)
    mark = f"w-{abs(hash(request.node.nodeid)) % 10**9}-{server.rsplit(':', 1)[-1]}"
    experiment = client.create_experiment(mark)
    ids = []
    for i in range(10):
        run = client.create_run(experiment, start_time=1_000 + i, run_name=f"Run {i % 5}")
        run_id = run.info.run_id
        ids.append(run_id)
        client.log_batch(
            run_id,
            metrics=[Metric("auc", math.nan if i == 7 else i / 10, 1, 0)] if i != 8 else [],
            params=[Param("depth", str(i)), Param("kind", "ABab"[i % 4])] if i != 9 else [],
            tags=[RunTag("team", ["Risk", "risk", "ops"][i % 3]), RunTag("x", "y")],
        )
        if i < 3:
            client.set_terminated(run_id, ["FINISHED", "FAILED", "KILLED"][i], end_time=2_000 + i)
    for i in range(10):
        client.create_registered_model(f"{mark}-{i}", tags={"n": str(i), "even": str(i % 2 == 0)})
    for i in range(5):
        client.create_model_version(
            f"{mark}-0", f"s3://bucket/{i}", tags={"n": str(i)}, run_id=ids[i % 2]
        )
    return client, mark, experiment, ids


def everything(search, **arguments):
    found, token = [], None
    while True:
        page = search(page_token=token, **arguments)
        found += page
        token = page.token
        if not token:
            return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.auc = 0.3", [3]),
        ("metrics.auc != 0.3", [0, 1, 2, 4, 5, 6, 7, 9]),
        ("metrics.auc > 0.5", [6, 9]),
        ("metrics.auc >= 0.5", [5, 6, 9]),
        ("metrics.auc < 0.2", [0, 1]),
        ("metrics.auc <= 0.2", [0, 1, 2]),
        ("metrics.auc > -1e3 AND metrics.auc < 1E-1", [0]),
        ("params.depth = '4'", [4]),
        ("params.depth != '4'", [0, 1, 2, 3, 5, 6, 7, 8]),
        ("params.kind LIKE 'A'", [0, 4, 8]),
        ("params.kind ILIKE 'a'", [0, 2, 4, 6, 8]),
        ("params.kind IS NULL", [9]),
        ("params.kind IS NOT NULL AND params.depth IS NOT NULL", [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("tags.team = 'risk'", [1, 4, 7]),
        ("tags.team != 'risk'", [0, 2, 3, 5, 6, 8, 9]),
        ("tags.team LIKE 'R%'", [0, 3, 6, 9]),
        ("tags.team ILIKE 'r%'", [0, 1, 3, 4, 6, 7, 9]),
        ("tags.team LIKE '%s%'", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("tags.team LIKE '_ps'", [2, 5, 8]),
        ("attributes.status = 'FAILED'", [1]),
        ("attributes.status != 'RUNNING'", [0, 1, 2]),
        ("attributes.status LIKE 'F%'", [0, 1]),
        ("attributes.run_name = 'Run 3'", [3, 8]),
        ("attributes.run_name ILIKE 'rUN%' AND run_name != 'Run 0'", [1, 2, 3, 4, 6, 7, 8, 9]),
        ("attributes.start_time >= 1008", [8, 9]),
        ("attributes.start_time = 1002", [2]),
        ("attributes.end_time < 2001", [0]),
        ("attributes.artifact_uri LIKE 'mlflow-artifacts:/%'", list(range(10))),
        ("tags.team = 'risk' AND metrics.auc > 0.2 AND params.depth != '7'", [4]),
        ("tags.team = 'nobody'", []),
        ("metrics.nothing != 1", []),
        ("params.nothing != '1'", []),
        ("tags.`team` = \"ops\"", [2, 5, 8]),
        ('tags."team" = "ops"', [2, 5, 8]),
        ("params.depth = '1' params.depth = '1'", [1]),
        ("params.depth = '1' AND", [1]),
    ],
)
def test_runs_by_every_comparator(world, text, expected):
    client, _, experiment, ids = world
    found = everything(client.search_runs, experiment_ids=[experiment], filter_string=text, max_results=3)
    assert sorted(ids.index(run.info.run_id) for run in found) == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (["metrics.auc ASC"], [0, 1, 2, 3, 4, 5, 6, 9, 7, 8]),
        (["metrics.auc DESC"], [9, 6, 5, 4, 3, 2, 1, 0, 7, 8]),
        (["params.depth ASC"], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (["params.depth DESC"], [8, 7, 6, 5, 4, 3, 2, 1, 0, 9]),
        (["tags.team", "attributes.start_time ASC"], [0, 3, 6, 9, 2, 5, 8, 1, 4, 7]),
        (["attributes.run_name DESC", "start_time"], [4, 9, 3, 8, 2, 7, 1, 6, 0, 5]),
        (["attributes.end_time DESC"], [2, 1, 0, 9, 8, 7, 6, 5, 4, 3]),
        (["attributes.end_time ASC"], [0, 1, 2, 9, 8, 7, 6, 5, 4, 3]),
        (["status", "created ASC"], [1, 0, 2, 3, 4, 5, 6, 7, 8, 9]),
        (["metrics.nothing", "start_time ASC"], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_runs_in_every_order_over_pages(world, order, expected):
    client, _, experiment, ids = world
    found = everything(client.search_runs, experiment_ids=[experiment], order_by=order, max_results=3)
    assert [ids.index(run.info.run_id) for run in found] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name = '{m}-3'", [3]),
        ("name LIKE '{m}-%' AND name != '{m}-3'", [0, 1, 2, 4, 5, 6, 7, 8, 9]),
        ("name LIKE '{m}-_'", list(range(10))),
        ("name ILIKE '{M}-3'", [3]),
        ("name LIKE '{m}%' AND tags.n != '3'", [0, 1, 2, 4, 5, 6, 7, 8, 9]),
        ("name LIKE '{m}%' AND tags.even = 'True' AND tags.n ILIKE '2'", [2]),
        ("name IN ('{m}-1', '{m}-2')", [1, 2]),
        ("name LIKE '{m}%' AND tags.nothing = '1'", []),
    ],
)
def test_models_by_every_comparator(world, text, expected):
    client, mark, *_ = world
    text = text.format(m=mark, M=mark.upper())
    found = everything(client.search_registered_models, filter_string=text, max_results=3)
    assert [int(model.name.rsplit("-", 1)[-1]) for model in found] == expected


def test_models_in_every_order(world):
    client, mark, *_ = world
    text = f"name LIKE '{mark}%'"
    for order, expected in (
        (["name ASC"], list(range(10))),
        (["name DESC"], list(range(9, -1, -1))),
        # The first got its versions after the others were made.
        (["last_updated_timestamp DESC", "name ASC"], 0),
        (["timestamp DESC"], 0),
    ):
        found = everything(
            client.search_registered_models, filter_string=text, order_by=order, max_results=4
        )
        numbers = [int(model.name.rsplit("-", 1)[-1]) for model in found]
        assert (numbers if isinstance(expected, list) else numbers[0]) == expected, order


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version_number = 2", [2]),
        ("version_number != 2", [1, 3, 4, 5]),
        ("version_number >= 4", [4, 5]),
        ("version_number < 2", [1]),
        ("tags.n = '3'", [4]),
        ("tags.n LIKE '%'", [1, 2, 3, 4, 5]),
        ("source_path = 's3://bucket/2'", [3]),
        ("source_path LIKE 's3://%'", [1, 2, 3, 4, 5]),
        ("run_id = '{r}'", [1, 3, 5]),
        ("run_id IN ('{r}')", [1, 3, 5]),
        ("run_id NOT IN ('{r}')", [2, 4]),
    ],
)
def test_versions_by_every_comparator(world, text, expected):
    client, mark, _, ids = world
    text = f"name = '{mark}-0' AND {text.format(r=ids[0])}"
    found = everything(
        client.search_model_versions,
        filter_string=text,
        order_by=["version_number ASC"],
        max_results=2,
    )
    assert [int(version.version) for version in found] == expected


def test_versions_in_every_order(world):
    client, mark, *_ = world
    text = f"name = '{mark}-0'"
    for order, expected in (
        (["version_number ASC"], [1, 2, 3, 4, 5]),
        (["version_number DESC"], [5, 4, 3, 2, 1]),
        (["name ASC"], [5, 4, 3, 2, 1]),
        (["name DESC", "version_number ASC"], [1, 2, 3, 4, 5]),
    ):
        found = everything(
            client.search_model_versions, filter_string=text, order_by=order, max_results=2
        )
        assert [int(version.version) for version in found] == expected, order


def test_experiments_by_tags_and_views(client, name):
    ids = [
        client.create_experiment(f"{name}-{i}", tags={"n": str(i)} if i else {}) for i in range(4)
    ]
    client.delete_experiment(ids[3])
    for text, view, expected in (
        ("tags.n = '1'", ViewType.ACTIVE_ONLY, [1]),
        ("tags.n != '1'", ViewType.ALL, [2, 3]),
        ("tags.n IS NULL", ViewType.ALL, [0]),
        ("tags.n IS NOT NULL", ViewType.ALL, [1, 2, 3]),
        ("tags.n LIKE '%'", ViewType.DELETED_ONLY, [3]),
        ("creation_time > 0", ViewType.ACTIVE_ONLY, [0, 1, 2]),
        ("last_update_time < 5", ViewType.ACTIVE_ONLY, []),
        (f"experiment_id IN ('{ids[0]}', '{ids[3]}')", ViewType.ALL, [0, 3]),
    ):
        found = everything(
            client.search_experiments,
            view_type=view,
            filter_string=f"name LIKE '{name}-%' AND {text}",
            order_by=["name ASC"],
            max_results=2,
        )
        assert [ids.index(experiment.experiment_id) for experiment in found] == expected, text


def test_logged_models_over_pages(client, experiment):
    ids = []
    for i in range(5):
        model = client.create_logged_model(
            experiment, name=f"m{i}", params={"depth": str(i)}, tags={"even": str(i % 2 == 0)}
        )
        ids.append(model.model_id)
    found = everything(
        client.search_logged_models,
        experiment_ids=[experiment],
        order_by=[{"field_name": "name", "ascending": False}],
        max_results=2,
    )
    assert [model.model_id for model in found] == ids[::-1]
    for text, expected in (
        ("name IN ('m1', 'm2')", [1, 2]),
        ("params.depth != '3'", [0, 1, 2, 4]),
        ("tags.even = 'True' AND params.depth LIKE '_'", [0, 2, 4]),
        ("tags.even IN ('False')", [1, 3]),
        ("name ILIKE 'M%' AND creation_time > 5", [0, 1, 2, 3, 4]),
    ):
        found = client.search_logged_models([experiment], filter_string=text)
        assert sorted(ids.index(model.model_id) for model in found) == expected, text


@pytest.mark.parametrize("token", ["garbage", "AAAA", "-1", "{}"])
def test_bad_tokens_are_refused(client, experiment, token):
    for search in (
        lambda: client.search_runs([experiment], page_token=token),
        lambda: client.search_experiments(page_token=token),
        lambda: client.search_registered_models(page_token=token),
        lambda: client.search_model_versions(page_token=token),
    ):
        with pytest.raises(MlflowException) as error:
            search()
        assert error.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_bad_token_of_logged_models_is_refused(client, experiment):
    with pytest.raises(MlflowException) as error:
        client.search_logged_models([experiment], page_token="garbage")
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"


def test_equal_orders_are_refused(client, experiment):
    with pytest.raises(MlflowException) as error:
        client.search_runs([experiment], order_by=["start_time", "start_time DESC"])
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"
