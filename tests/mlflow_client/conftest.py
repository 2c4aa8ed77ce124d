"""Every check, against each server: ours and, with `--reference`, MLflow's own.

A check which the reference fails is wrong by definition, unless `better.py` says why ours answers
otherwise. At the end stands one table of checks and servers.

A check that needs a server asks for `client` or `server`; one that starts its own asks for `target`.
"""

import os
import uuid

import pytest

# The client must fail at once when the server does, and must not write beside the tests.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"

import mlflow  # noqa: E402
import postgres  # noqa: E402
from better import BETTER, PENDING  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from servers import FORESHOCK, MLFLOW, serve, targets  # noqa: E402

# These start programs of ours, which the reference is not.
OURS_ONLY = {"test_auth.py", "test_openapi.py", "test_scorer.py", "test_trainer.py", "test_transfer.py"}


def pytest_addoption(parser):
    parser.addoption(
        "--reference", action="store_true", help="run every check against `mlflow server` too"
    )
    parser.addoption("--only", help="run against this server alone")


def pytest_generate_tests(metafunc):
    if "target" not in metafunc.fixturenames:
        return
    config = metafunc.config
    chosen = [config.option.only] if config.option.only else targets(config.option.reference)
    if metafunc.definition.path.name in OURS_ONLY:
        chosen = [target for target in chosen if target != MLFLOW]
    metafunc.parametrize("target", chosen, indirect=True, scope="session")


def check_of(item):
    """The check's name without the server's, `test_models.py::test_x[a]`, and the server."""
    name = f"{item.path.name}::{item.originalname}"
    if not hasattr(item, "callspec"):
        return name, None
    target, inside = item.callspec.params.get("target"), item.callspec.id
    # No name where none of the chosen servers is meant.
    if isinstance(target, str):
        # The server's parameter is the first one or the last.
        inside = inside.removeprefix(target) if inside.startswith(target) else inside.removesuffix(target)
        inside = inside.strip("-")
    return name + (f"[{inside}]" if inside else ""), target


def reason_in(reasons, check):
    """Why, when a name of the list is the check's, that of all of its parameters, or its file's."""
    names = (check, check.partition("[")[0], check.partition("::")[0])
    return next((reasons[name] for name in names if name in reasons), None)


def pytest_collection_modifyitems(items):
    for item in items:
        check, target = check_of(item)
        item.user_properties.append(("check", check))
        item.user_properties.append(("target", target if isinstance(target, str) else FORESHOCK))
        if target == MLFLOW:
            reason = reason_in(BETTER, check)
        else:
            reason = reason_in(PENDING, check)
        if reason:
            # Strict: an entry of the lists that is no longer true is an error too.
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(scope="session")
def target(request):
    """Which server it is: a name of `servers.py`."""
    return request.param


@pytest.fixture(scope="session")
def server(target, tmp_path_factory):
    with serve(target, tmp_path_factory.mktemp(target)) as url:
        yield url


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


def pytest_terminal_summary(terminalreporter):
    """One row for each check; its parameters are counted, and named where they differ."""
    if not postgres.programs():
        terminalreporter.write_line(f"not run on PostgreSQL: {postgres.INSTALL}", yellow=True)
    outcomes = {}
    words = {"passed": "pass", "xfailed": "differs", "skipped": "skip", "failed": "FAIL", "error": "ERROR"}
    for stat, word in words.items():
        for report in terminalreporter.stats.get(stat, []):
            properties = dict(getattr(report, "user_properties", []))
            if "check" in properties:
                outcomes[properties["check"], properties["target"]] = word
    columns = sorted({target for _, target in outcomes})
    if len(columns) < 2:
        return
    rows = {}
    for (check, target), word in outcomes.items():
        function = check.partition("[")[0]
        row = function if word in ("pass", "skip") else check
        rows.setdefault(row, {}).setdefault(target, []).append(word)
    terminalreporter.section("checks and servers")
    write = terminalreporter.write_line
    width = max(map(len, rows))
    write(f"{'check':<{width}} " + " ".join(f"{column:<18}" for column in columns))
    for check in sorted(rows):
        cells = []
        for column in columns:
            found = rows[check].get(column, ["-"])
            cells.append(found[0] if len(found) == 1 else f"{found[0]} x{len(found)}")
        why = ""
        if "differs" in cells:
            why = reason_in(BETTER, check) or reason_in(PENDING, check) or ""
        write((f"{check:<{width}} " + " ".join(f"{cell:<18}" for cell in cells) + why).rstrip())
    for column in columns:
        found = [word for (_, target), word in outcomes.items() if target == column]
        counts = ", ".join(f"{found.count(word)} {word}" for word in words.values() if word in found)
        write(f"{column}: {counts}")
