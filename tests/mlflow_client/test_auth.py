"""The client logs in as MLflow's variables say: Basic and Bearer."""

import json
import sys
import time
import types

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import RestException
from servers import Registry

PASSWORD = "a long: password"
USERS = {"rita": "reader", "walt": "writer", "ada": "admin"}


class Secured(Registry):
    """A server with users; `url` is where it is."""

    url = None

    def run(self, *arguments):
        return super().run(*arguments, stdin=f"{PASSWORD}\n")


@pytest.fixture(scope="module")
def secured(target, tmp_path_factory):
    server = Secured(target, tmp_path_factory.mktemp("secured"))
    for name, role in USERS.items():
        server.run("user", "add", name, "--role", role)
    # Beyond this machine, which it refuses without users.
    with server.serve("--host", "0.0.0.0") as server.url:
        yield server


@pytest.fixture
def login(secured, monkeypatch):
    """Says who the client is; a client of that server."""

    def become(name=None, token=None):
        for variable in ("USERNAME", "PASSWORD", "TOKEN"):
            monkeypatch.delenv(f"MLFLOW_TRACKING_{variable}", raising=False)
        if name:
            monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        if token:
            monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
        mlflow.set_tracking_uri(secured.url)
        mlflow.set_registry_uri(secured.url)
        return MlflowClient(secured.url)

    return become


def denied(error):
    return error.value.error_code == "PERMISSION_DENIED"


def test_nobody_is_let_in_without_a_name(login):
    with pytest.raises(RestException) as error:
        login().search_experiments()
    assert error.value.error_code == "UNAUTHENTICATED"


def test_basic_and_roles(login, name, tmp_path):
    experiment = login("walt").create_experiment(name)
    run = login("walt").create_run(experiment).info.run_id
    login("walt").log_metric(run, "k", 1.0)
    (tmp_path / "file.txt").write_text("hello")
    login("walt").log_artifact(run, str(tmp_path / "file.txt"))
    reader = login("rita")
    assert reader.get_run(run).data.metrics == {"k": 1.0}
    assert [f.path for f in reader.list_artifacts(run)] == ["file.txt"]
    with pytest.raises(RestException) as error:
        reader.log_metric(run, "k", 2.0)
    assert denied(error)
    with pytest.raises(RestException) as error:
        reader.create_experiment(f"{name}-2")
    assert denied(error)


def test_bearer_until_it_is_revoked(secured, login, name):
    token = secured.run("token", "create", "walt", "--expires", "1h")
    client = login(token=token["token"])
    experiment = client.create_experiment(name)
    assert client.get_experiment(experiment).name == name
    assert token["token"] not in json.dumps(secured.run("token", "list"))
    with pytest.raises(RestException) as error:
        login(token="fsr_" + "A" * 43).search_experiments()
    assert error.value.error_code == "UNAUTHENTICATED"


def test_a_grant_hides_an_experiment(secured, login, name):
    experiment = login("ada").create_experiment(name)
    seen = [e.name for e in login("rita").search_experiments()]
    assert name in seen
    secured.run("grant", "set", "rita", "none", "--experiment", experiment)
    reader = login("rita")
    # The server hears of it within seconds.
    deadline = time.monotonic() + 30
    while name in [e.name for e in reader.search_experiments()] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert name not in [e.name for e in reader.search_experiments()]
    with pytest.raises(RestException) as error:
        reader.get_experiment(experiment)
    assert denied(error)


def test_mlflows_own_client_manages_users(login, secured, name, monkeypatch):
    # The package of the client alone has none.
    pytest.importorskip("flask")
    # Only the server beside that client needs it, and only to be imported.
    csrf = types.ModuleType("flask_wtf.csrf")
    csrf.CSRFProtect = object
    monkeypatch.setitem(sys.modules, "flask_wtf", types.ModuleType("flask_wtf"))
    monkeypatch.setitem(sys.modules, "flask_wtf.csrf", csrf)
    from mlflow.server.auth.client import AuthServiceClient

    login("ada")
    users = AuthServiceClient(secured.url)
    assert users.create_user(name, PASSWORD).username == name
    assert not users.get_user(name).is_admin
    users.update_user_admin(name, True)
    assert users.get_user(name).is_admin
    users.update_user_admin(name, False)
    experiment = login("ada").create_experiment(name)
    users.grant_user_permission(name, "experiment", experiment, "MANAGE")
    assert users.get_user_permission(name, "experiment", experiment).permission == "MANAGE"
    users.revoke_user_permission(name, "experiment", experiment)
    users.update_user_password(name, "another password")
    users.delete_user(name)
    with pytest.raises(RestException) as error:
        users.get_user(name)
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"
