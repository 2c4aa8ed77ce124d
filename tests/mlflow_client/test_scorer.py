"""MLflow's scoring protocol, as `scorer run` speaks it: its client asks, Python's own `predict` is the judge."""

import json
import re
import subprocess
import time
from contextlib import contextmanager

import mlflow
import pandas as pd
import pytest
import requests
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from test_trainer import TRAINER, serve, train

BIN = TRAINER.parent
MODEL = "models:/market-anomaly@challenger"


@contextmanager
def kafka():
    broker = subprocess.Popen(
        [BIN / "examples" / "kafka"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield broker.stdout.readline().strip()
    broker.stdin.close()
    broker.wait(timeout=60)


@contextmanager
def scorer(folder, brokers, registry, model=MODEL):
    """`scorer run` with a model of the registry; the port that it answers at."""
    subprocess.run(
        [BIN / "feed", "simulate", "--brokers", brokers, "--symbols", "1", "--count", "10", "--speed", "max"],
        check=True,
        capture_output=True,
    )
    (folder / "scorer.toml").write_text(
        f'[model]\nuri = "{model}"\n[registry]\nuri = "{registry}"\n'
        f'[kafka]\nbrokers = "{brokers}"\n[api]\nlisten = "127.0.0.1:0"\n'
    )
    log = folder / "scorer.log"
    with log.open("w") as file:
        process = subprocess.Popen([BIN / "scorer", "run", folder / "scorer.toml"], stderr=file)
    try:
        deadline = time.monotonic() + 120
        while not (told := re.search(r"answering .*?127\.0\.0\.1:(\d+)", log.read_text())):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield int(told[1])
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0, log.read_text()


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    """The port of a scorer, rows, and what Python says of them."""
    folder = tmp_path_factory.mktemp("serving")
    train(folder, "iforest.toml")
    with serve(folder) as registry, kafka() as brokers, scorer(folder, brokers, registry) as port:
        path = mlflow.artifacts.download_artifacts(MODEL, dst_path=str(folder))
        example = json.loads((folder / "input_example.json").read_text())
        rows = pd.DataFrame(example["data"], columns=example["columns"])
        # Ordinary rows, and the same far out.
        rows = pd.concat([rows, rows * 7], ignore_index=True)
        yield port, rows, mlflow.pyfunc.load_model(path).predict(rows)


def same(predictions, expected):
    assert len(predictions) == len(expected)
    for found, native in zip(predictions, expected.to_dict(orient="records")):
        for name in ("score", "raw_score", "threshold"):
            assert found[name] == pytest.approx(native[name], rel=1e-9, abs=1e-9)
        assert found["flag"] is bool(native["flag"])


def test_mlflows_own_client_gets_what_python_predicts(serving):
    port, rows, expected = serving
    client = ScoringServerClient("127.0.0.1", port)
    client.wait_server_ready(timeout=120)
    assert client.get_version() == "3.17.2"
    answer = client.invoke(rows)
    same(answer["predictions"], expected)
    assert list(answer.get_predictions()) == ["score", "raw_score", "flag", "threshold"]
    assert client.invoke(rows.to_numpy())["predictions"] == answer["predictions"]


@pytest.mark.parametrize("shape", ["records", "instances", "inputs", "csv"])
def test_every_shape_of_the_protocol_says_the_same(serving, shape):
    port, rows, expected = serving
    ScoringServerClient("127.0.0.1", port).wait_server_ready(timeout=120)
    url = f"http://127.0.0.1:{port}/invocations"
    records = rows.to_dict(orient="records")
    if shape == "csv":
        answer = requests.post(url, data=rows.to_csv(), headers={"Content-Type": "text/csv"})
    else:
        body = {
            "records": {"dataframe_records": records},
            "instances": {"instances": records},
            "inputs": {"inputs": rows.to_dict(orient="list")},
        }[shape]
        answer = requests.post(url, json=body)
    assert answer.status_code == 200, answer.text
    same(answer.json()["predictions"], expected)


def test_what_is_wrong_is_refused_with_mlflows_body(serving):
    port, rows, _ = serving
    ScoringServerClient("127.0.0.1", port).wait_server_ready(timeout=120)
    url = f"http://127.0.0.1:{port}/invocations"
    less = rows.drop(columns=rows.columns[0]).to_dict(orient="split")
    for body in ({"dataframe_split": less}, {"data": []}, {"inputs": [[1]], "params": {"a": 1}}):
        answer = requests.post(url, json=body)
        assert answer.status_code == 400
        assert answer.json()["error_code"] == "BAD_REQUEST" and answer.json()["message"]
    parquet = {"Content-Type": "application/vnd.apache.parquet"}
    assert requests.post(url, data=b"PAR1", headers=parquet).status_code == 415
