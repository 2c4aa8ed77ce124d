"""A detector that a Python user has: scikit-learn's, registered by MLflow, calibrated by `trainer evaluate --register`,
run by `scorer`."""

import json
import os
import subprocess

import mlflow
import mlflow.onnx
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, get_model_info
from mlflow.types import ColSpec, Schema
from skl2onnx import to_onnx
from sklearn.ensemble import IsolationForest
from test_trainer import TRAINER, serve

SCORER = TRAINER.with_name("scorer")
COLUMNS = ["log_return_zscore", "volume_zscore", "price_zscore"]
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
    with serve(folder):
        mlflow.set_experiment("made-in-python")
        graph = to_onnx(
            forest, np.zeros((1, 3), np.float32), target_opset={"": 18, "ai.onnx.ml": 3},
        )
        mlflow.onnx.log_model(
            graph, name="model", registered_model_name="theirs", pip_requirements=[],
            signature=ModelSignature(Schema([ColSpec("double", name) for name in COLUMNS])),
        )
        yield folder, forest


def test_a_scorer_runs_a_model_made_in_python(brought):
    folder, forest = brought
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
    folder, _ = brought
    (folder / "own.toml").write_text(EXPERIMENT + '[register]\nmodel = "ours"\n')
    run(TRAINER, "run", "own.toml", folder=folder)
    refused = run(
        TRAINER, "evaluate", "models:/ours/1", "--data", "x.toml", "--register", folder=folder, code=1
    )
    assert "as it is" in refused.stderr
