"""Models in plain Python: their scores there are their scores here.

`target/debug/examples/onnx_models` (of the crate `detectors`) writes models of every kind with rows,
ordinary ones and others as far out as numbers go, and what the models themselves say of them.
"""

import json
import os
import subprocess
from pathlib import Path

import mlflow
import mlflow.onnx
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from mlflow.models import ModelSignature, get_model_info
from mlflow.types import ColSpec, Schema, TensorSpec
from test_trainer import TRAINER, serve

MODELS = (
    "forest forest_density forest_adjusted_depth forest_extended forest_sciforest forest_fair_cut "
    "max_z ecod hbos knn knn_mean dbscan mahalanobis mahalanobis_shrinkage "
    "mahalanobis_exponential gaussian_mixture gaussian_mixture_diagonal autoencoder "
    "autoencoder_relu autoencoder_leaky_relu half_space_trees candle_z sliding_window consensus "
    "consensus_max consensus_rank per_symbol per_symbol_forest per_symbol_knn"
).split()
# Beyond the training range scores of 10^17 exist; there the difference is one of the last bits.
ABSOLUTE, RELATIVE = 1e-5, 1e-12


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([TRAINER.parent / "examples" / "onnx_models", folder], check=True)
    assert sorted(MODELS) == sorted(path.name for path in folder.iterdir())
    return folder


def signature(graph):
    """As trainer declares a graph."""
    inputs = {i.name: i.type.tensor_type.elem_type for i in graph.input}
    outputs = {o.name: o.type.tensor_type.elem_type for o in graph.output}
    columns = {onnx.TensorProto.DOUBLE: "double", onnx.TensorProto.BOOL: "boolean"}
    tensors = {"double": np.float64, "boolean": np.bool_}
    if onnx.TensorProto.STRING in inputs.values():
        tensor = lambda name, kind: TensorSpec(
            np.dtype(tensors.get(columns.get(kind), str)), (-1,), name
        )
        return ModelSignature(
            Schema([tensor(*item) for item in inputs.items()]),
            Schema([tensor(*item) for item in outputs.items()]),
        )
    return ModelSignature(
        Schema([ColSpec(columns[kind], name) for name, kind in inputs.items()]),
        Schema([ColSpec(columns[kind], name) for name, kind in outputs.items()]),
    )


def assert_same(found, native, columns):
    for name in columns:
        here, there = np.asarray(native[name]), np.asarray(found[name])
        if here.dtype == bool:
            assert there.dtype == bool and (here == there).all(), f"{name}: {(here != there).sum()}"
            continue
        assert there.dtype == np.float64
        allowed = np.maximum(ABSOLUTE, RELATIVE * np.abs(here))
        wrong = ~(np.abs(here - there) <= allowed)
        assert not wrong.any(), f"{name}: {wrong.sum()} rows, first {wrong.argmax()}"


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_scores_in_python_as_it_does_here(models, name, tmp_path):
    model = onnx.load(models / name / "model.onnx")
    onnx.checker.check_model(model)
    assert {opset.domain for opset in model.opset_import} == {"", "ai.onnx.ml"}
    rows = pd.read_csv(models / name / "rows.csv", keep_default_na=False)
    native = pd.read_csv(models / name / "native.csv")
    assert len(rows) == len(native) == 3_000 and native["flag"].any() and not native["flag"].all()
    mlflow.onnx.save_model(
        model, tmp_path / "model", signature=signature(model.graph), pip_requirements=[],
        onnx_execution_providers=["CPUExecutionProvider"], save_as_external_data=False,
    )
    found = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(rows)
    assert list(found) == list(native)
    assert_same(found, native, ["score", "raw_score", "flag", "threshold"])
    # Which of the rows at the same distance is the neighbour, or the component, nobody can tell.
    ordinary = rows.drop(columns="symbol").abs().max(axis=1) < 1e3
    parts = [column for column in native if column.startswith("contribution_")]
    for part in parts:
        difference = np.asarray(found[part])[ordinary] - native[part][ordinary]
        assert (difference.abs() <= 1e-6 * (1 + native[part][ordinary].abs())).mean() > 0.999, part


def session(models, name):
    return onnxruntime.InferenceSession(
        models / name / "model.onnx", providers=["CPUExecutionProvider"]
    )


def feed(rows, running):
    kinds = {"tensor(string)": object, "tensor(double)": np.float64}
    return {i.name: rows[i.name].to_numpy(dtype=kinds[i.type]) for i in running.get_inputs()}


@pytest.mark.parametrize("name", ["forest_fair_cut", "consensus", "per_symbol_knn", "autoencoder"])
def test_a_row_scores_alone_as_among_others_and_no_rows_have_no_scores(models, name):
    running = session(models, name)
    rows = pd.read_csv(models / name / "rows.csv", keep_default_na=False).iloc[990:1_010]
    together = running.run(["score"], feed(rows, running))[0]
    for i in range(len(rows)):
        alone = running.run(["score"], feed(rows.iloc[i : i + 1], running))[0]
        # Some functions of onnxruntime round otherwise for the last few of many.
        assert alone == pytest.approx([together[i]], rel=1e-12)
    assert running.run(["score"], feed(rows.iloc[:0], running))[0].shape == (0,)


@pytest.mark.parametrize("name", ["forest", "ecod", "knn", "autoencoder", "gaussian_mixture"])
def test_a_value_that_is_not_finite_gives_no_score_and_no_flag(models, name):
    running = session(models, name)
    rows = pd.read_csv(models / name / "rows.csv", keep_default_na=False).iloc[:6].copy()
    rows.iloc[1, 0], rows.iloc[3, 2], rows.iloc[4, 5] = np.nan, np.inf, -np.inf
    score, flag = running.run(["score", "flag"], feed(rows, running))
    assert np.isnan(score).tolist() == [False, True, False, True, True, False]
    assert not flag[[1, 3, 4]].any()


def test_a_symbol_without_a_detector_is_an_error_that_says_so(models):
    running = session(models, "per_symbol_forest")
    rows = pd.read_csv(models / "per_symbol_forest" / "rows.csv", keep_default_na=False).iloc[:3]
    with pytest.raises(Exception, match="symbol_without_a_detector"):
        running.run(["score"], feed(rows.assign(symbol="UNKNOWN"), running))


PLANTS = """
[experiment]
name = "plants"
[data]
source = "plants.parquet"
kind = "features"
interval = "1m"
time = "at"
{symbols}
label = "outlier"
[[candidates]]
name = "chosen"
{candidate}
[evaluate]
alerts_per_symbol_day = 10.0
resamples = 50
[register]
model = "plants-{name}"
alias = "champion"
"""

CANDIDATES = {
    "global": 'detector = "isolation_forest"',
    "own": 'detector = "ecod"\nscope = "per_symbol"',
    "one": 'detector = "isolation_forest"\nform = "fair_cut"',
}


def plants():
    """A row a minute and symbol; every 200th lies far out."""
    n = 8_000
    values = np.random.default_rng(3).normal(size=(n, 3)) * [1.0, 2.0, 0.1]
    label = np.zeros(n, dtype=np.int64)
    label[150::200] = 1
    values[150::200] += [9.0, -20.0, 1.0]
    return pd.DataFrame({
        "at": pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(np.arange(n) // 2, "min"),
        "plant": np.where(np.arange(n) % 2 == 0, "north", "south"),
        "width": values[:, 0], "height": values[:, 1], "with space": values[:, 2],
        "outlier": label,
    })


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """Models that trainer registered in a folder's registry, which then is served; what trainer says
    of every row."""
    folder = tmp_path_factory.mktemp("plants")
    table = plants()
    told = {}
    for name, candidate in CANDIDATES.items():
        # Of one symbol, its rows alone.
        data = table[table["plant"] == "north"] if name == "one" else table
        data.astype({"at": "datetime64[us, UTC]"}).to_parquet(folder / "plants.parquet")
        symbols = "" if name == "one" else 'symbol_column = "plant"'
        text = PLANTS.format(name=name, candidate=candidate, symbols=symbols)
        if name == "one":
            data = data.drop(columns="plant")
            data.to_parquet(folder / "plants.parquet")
        (folder / f"{name}.toml").write_text(text)
        finished = subprocess.run(
            [TRAINER, "run", f"{name}.toml", "--output", "json", "--scores", f"{name}.parquet"],
            cwd=folder,
            env={key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")},
            capture_output=True,
            text=True,
        )
        assert finished.returncode == 0, finished.stderr
        told[name] = json.loads(finished.stdout)
    with serve(folder):
        yield folder, table


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_registered_model_is_a_python_function_that_gives_its_scores(registered, name):
    folder, table = registered
    uri = f"models:/plants-{name}@champion"
    info = get_model_info(uri)
    assert set(info.flavors) == {"foreshock", "onnx", "python_function"}
    model = mlflow.pyfunc.load_model(uri)
    native = pd.read_parquet(folder / f"{name}.parquet")
    table = table.rename(columns={"plant": "symbol"})
    keys = ["at"]
    if name == "one":
        table = table[table["symbol"] == "north"]
        native = native.rename(columns={"time": "at"})
    else:
        native = native.rename(columns={"time": "at"})
        keys.append("symbol")
    table["at"] = table["at"].dt.as_unit("us")
    native["at"] = pd.to_datetime(native["at"], utc=True).dt.as_unit("us")
    rows = table.merge(native, on=keys)
    assert len(rows) > 3_000 and rows["flag"].sum() > 5
    found = model.predict(rows[info.signature.inputs.input_names()])
    scores = rows.rename(columns={"score": "raw_score", "neg_log10_tail": "score"})
    assert_same(found, scores, ["score", "raw_score", "flag"])
    assert info.signature.outputs.input_names()[:4] == ["score", "raw_score", "flag", "threshold"]
    assert list(found) == info.signature.outputs.input_names()
    # The example is one that the model takes.
    example = model.input_example if hasattr(model, "input_example") else None
    if example is not None:
        assert len(model.predict(example)["score"]) == len(example)


def largest_of(width):
    """The largest |x| of a row, as a graph that somebody made in Python."""
    info = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("Abs", ["x"], ["size"]),
        onnx.helper.make_node("ReduceMax", ["size"], ["largest"], axes=[1], keepdims=0),
    ]
    graph = onnx.helper.make_graph(
        nodes, "largest", [info("x", onnx.TensorProto.FLOAT, ["n", width])],
        [info("largest", onnx.TensorProto.FLOAT, ["n"])],
    )
    imports = [onnx.helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)


def evaluate(folder, model, code=0):
    finished = subprocess.run(
        [TRAINER, "evaluate", model, "--data", "one.toml", "--output", "json",
         "--tracking-uri", mlflow.get_tracking_uri()],
        cwd=folder, capture_output=True, text=True,
    )
    assert finished.returncode == code, finished.stderr
    return json.loads(finished.stdout)


def test_a_model_made_in_python_is_judged_as_ours_are(registered):
    folder, _ = registered
    columns = ["width", "height", "with space"]
    declared = ModelSignature(Schema([ColSpec("double", name) for name in columns]))
    # The client remembers the experiment of whatever test came before, on another server.
    mlflow.set_experiment("made-in-python")
    for name, width in [("largest", 3), ("too-wide", 4)]:
        mlflow.onnx.log_model(
            largest_of(width), name="model", signature=declared, registered_model_name=name,
            pip_requirements=[], save_as_external_data=False,
        )
    theirs = evaluate(folder, "models:/largest/1")
    assert theirs["flavor"] == "onnx" and theirs["features"] == columns
    ours = evaluate(folder, "models:/plants-one@champion")
    assert ours["flavor"] == "foreshock"
    assert set(theirs["metrics"]) == set(ours["metrics"])
    assert theirs["metrics"]["test_rows"] == ours["metrics"]["test_rows"]
    assert 0.2 < theirs["metrics"]["test_average_precision"] <= 1
    error = evaluate(folder, "models:/too-wide/1", code=1)["error"]
    assert "expected 3" in error and "found 4" in error
