"""A detector that a Python user has: scikit-learn's or PyTorch's, registered by MLflow, calibrated by `trainer evaluate
--register`, run by `scorer`."""

import json
import os
import subprocess

import mlflow
import mlflow.onnx
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import requests
from mlflow.models import ModelSignature, get_model_info
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from mlflow.types import ColSpec, Schema
from skl2onnx import to_onnx
from sklearn.ensemble import IsolationForest
from test_scorer import kafka, scorer
from test_trainer import REPOSITORY, TRAINER, serve

SCORER = TRAINER.with_name("scorer")
COLUMNS = ["log_return_zscore", "volume_zscore", "price_zscore"]
# PyTorch's own exports of an autoencoder of four columns, by make_torch.py beside them.
EXPORTS = REPOSITORY / "crates/onnx-runtime/tests/fixtures"
FOUR = [*COLUMNS, "momentum"]
EXPERIMENT = """
[experiment]
name = "brought"
[data]
source = "trades.parquet"
kind = "trades"
interval = "10s"
[features]
use = ["log_return_zscore", "volume_zscore", "price_zscore"]
window = 20
[inject]
events_per_symbol_day = 40.0
[[candidates]]
detector = "max_z"
[evaluate]
alerts_per_symbol_day = 40.0
resamples = 50
"""


def trades():
    """Two symbols, a trade a second for a day, a jump now and then."""
    random = np.random.default_rng(5)
    n = 86_400
    tables = []
    for symbol in ("AAA", "BBB"):
        moves = random.normal(scale=1e-4, size=n)
        moves[random.integers(0, n, 40)] += 8e-3
        tables.append(pd.DataFrame({
            "symbol": symbol,
            "trade_id": np.arange(1, n + 1),
            "time": pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(np.arange(n), "s"),
            "price": 100 * np.exp(np.cumsum(moves)),
            "quantity": random.lognormal(size=n),
            "is_buyer_maker": random.random(n) < 0.5,
        }))
    return pd.concat(tables).astype({"time": "datetime64[us, UTC]"})


def run(program, *arguments, folder, code=0):
    finished = subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()},
    )
    assert finished.returncode == code, finished.stderr + finished.stdout
    return finished


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brought")
    trades().to_parquet(folder / "trades.parquet")
    (folder / "x.toml").write_text(EXPERIMENT)
    random = np.random.default_rng(1)
    forest = IsolationForest(n_estimators=50, random_state=1)
    forest.fit(random.normal(size=(2_000, 3)).astype(np.float32))
    with serve(folder) as registry:
        mlflow.set_experiment("made-in-python")
        graph = to_onnx(
            forest, np.zeros((1, 3), np.float32), target_opset={"": 18, "ai.onnx.ml": 3},
        )
        mlflow.onnx.log_model(
            graph, name="model", registered_model_name="theirs", pip_requirements=[],
            signature=ModelSignature(Schema([ColSpec("double", name) for name in COLUMNS])),
        )
        yield folder, forest, registry


def test_a_scorer_runs_a_model_made_in_python(brought):
    folder, forest, _ = brought
    refused = run(
        SCORER, "replay", "trades.parquet", "--model", "models:/theirs/1", folder=folder, code=1
    )
    assert "trainer evaluate models:/theirs/1" in refused.stderr
    told = run(
        TRAINER, "evaluate", "models:/theirs/1", "--data", "x.toml", "--register", "--alias",
        "champion", "--output", "json", folder=folder,
    )
    told = json.loads(told.stdout)
    assert told["made"]["model"] == "theirs" and told["made"]["version"] == "2"

    client = mlflow.MlflowClient()
    version = client.get_model_version_by_alias("theirs", "champion")
    assert version.tags["foreshock.origin"] == "models:/theirs/1"
    metrics = client.get_run(version.run_id).data.metrics
    assert metrics["test_average_precision"] == told["metrics"]["test_average_precision"]
    info = get_model_info("models:/theirs@champion")
    assert set(info.flavors) == {"foreshock", "onnx", "python_function"}
    theirs = mlflow.pyfunc.load_model("models:/theirs@champion")

    run(
        SCORER, "replay", "trades.parquet", "--model", "models:/theirs@champion", "--finish",
        "--alerts", "alerts.jsonl", "--scores", "scores.parquet", folder=folder,
    )
    scores = pd.read_parquet(folder / "scores.parquet")
    assert len(scores) == 2 * (8_640 - 21)
    assert set(scores["model_version"]) == {"2"}
    alerts = [json.loads(line) for line in (folder / "alerts.jsonl").read_text().splitlines()]
    assert 20 < len(alerts) < 400
    for alert in alerts:
        parts = {part["feature"]: part for part in alert["contributions"]}
        row = pd.DataFrame([[parts[name]["value"] for name in COLUMNS]], columns=COLUMNS)
        expected = -forest.decision_function(row.to_numpy(np.float32))[0]
        assert alert["raw_score"] == pytest.approx(expected, abs=1e-5)
        assert sum(part["share"] for part in parts.values()) == pytest.approx(1)
        assert alert["score"] > alert["threshold"] and alert["model"]["version"] == "2"
    first = theirs.predict(row.astype(np.float64))
    assert -np.ravel(first["scores"])[0] == pytest.approx(expected, abs=1e-5)

    # What is adopted can be judged again, as it was.
    again = run(
        TRAINER, "evaluate", "models:/theirs/2", "--data", "x.toml", "--output", "json", folder=folder
    )
    assert json.loads(again.stdout)["metrics"] == told["metrics"]


def test_a_model_of_ours_needs_no_adoption(brought):
    folder, _, _ = brought
    (folder / "own.toml").write_text(EXPERIMENT + '[register]\nmodel = "ours"\n')
    run(TRAINER, "run", "own.toml", folder=folder)
    refused = run(
        TRAINER, "evaluate", "models:/ours/1", "--data", "x.toml", "--register", folder=folder, code=1
    )
    assert "as it is" in refused.stderr


@pytest.mark.parametrize("export", ["torch_scored_default", "torch_rebuilt_traced"])
def test_a_scorer_answers_with_what_pytorch_exported(brought, tmp_path, export):
    folder, _, registry = brought
    file = EXPORTS / f"{export}.onnx"
    name = export.replace("_", "-")
    mlflow.onnx.log_model(
        onnx.load(file), name="model", registered_model_name=name, pip_requirements=[],
        signature=ModelSignature(Schema([ColSpec("double", column) for column in FOUR])),
    )
    (folder / "four.toml").write_text(
        EXPERIMENT.replace('"price_zscore"]', '"price_zscore", "momentum"]')
    )
    told = run(
        TRAINER, "evaluate", f"models:/{name}/1", "--data", "four.toml", "--register", "--alias",
        "champion", "--output", "json", folder=folder,
    )
    assert json.loads(told.stdout)["made"]["version"] == "2"

    rows = np.random.default_rng(3).normal(size=(60, 4)).astype(np.float32)
    rows[40:] *= 30
    [said] = onnxruntime.InferenceSession(file).run(None, {"rows": rows})
    # An autoencoder's output is the row as rebuilt; the other graph's is the score itself.
    is_score = said.ndim == 1 or said.shape[1] == 1
    expected = said.ravel() if is_score else np.sqrt(np.square(said - rows, dtype=np.float64).mean(axis=1))
    symbols = ["AAA", "BBB", None] * 20
    asked = [
        {"features": dict(zip(FOUR, map(float, row))), **({"symbol": symbol} if symbol else {})}
        for row, symbol in zip(rows, symbols)
    ]
    with kafka() as brokers, scorer(tmp_path, brokers, registry, f"models:/{name}@champion") as port:
        ScoringServerClient("127.0.0.1", port).wait_server_ready(timeout=120)
        answer = requests.post(f"http://127.0.0.1:{port}/v1/predict", json={"rows": asked})
        assert answer.status_code == 200, answer.text
        alone = requests.post(f"http://127.0.0.1:{port}/v1/predict", json=asked[41])
    told = answer.json()
    assert (told["model"]["name"], told["model"]["version"]) == (name, "2")
    scored = told["predictions"]
    assert [row["raw_score"] for row in scored] == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-5)
    assert all(row["flagged"] == (row["score"] > row["threshold"]) for row in scored)
    assert any(row["flagged"] for row in scored) and not all(row["flagged"] for row in scored)
    # What is far out is less likely, symbol by symbol.
    for symbol in ("AAA", "BBB", None):
        of = [(row["raw_score"], row["score"]) for row, whose in zip(scored, symbols) if whose == symbol]
        tails = [score for _, score in sorted(of)]
        assert tails == sorted(tails)
    assert alone.json()["predictions"] == [scored[41]]
