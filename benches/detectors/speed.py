"""Times our detectors beside scikit-learn and PyTorch on one core, on the same data; run by run.sh.

Usage: speed.py PROGRAM [RUNS]

The peers run in turn with ours; medians count. PyTorch is left out, and that is said, where it isn't
installed.
"""

import json
import os
import statistics
import subprocess
import sys
import time

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np  # noqa: E402
from sklearn.cluster import DBSCAN  # noqa: E402

# Seconds that a peer written in Rust is waited for.
PATIENCE = 120

SINGLE = [
    {"detector": "max_z"},
    {"detector": "ecod"},
    {"detector": "hbos"},
    {"detector": "knn", "max_rows": 10_000},
    {"detector": "dbscan", "max_rows": 10_000},
    {"detector": "mahalanobis"},
    {"detector": "mahalanobis", "scatter": "exponential"},
    {"detector": "gaussian_mixture", "max_rows": 20_000},
    {"detector": "autoencoder", "widths": [16, 4], "max_epochs": 2},
    {"detector": "half_space_trees"},
    {"detector": "candle_z"},
    {"detector": "sliding_window"},
    {"detector": "isolation_forest"},
    {"detector": "consensus"},
]


def market(n_rows: int, n_columns: int) -> np.ndarray:
    """Heavy tails, changing volatility, correlated columns."""
    rng = np.random.default_rng(0)
    volatility = np.exp(rng.standard_normal((n_rows, 1)) / 2)
    mixing = np.eye(n_columns) + rng.standard_normal((n_columns, n_columns)) / 2
    return rng.standard_t(4, (n_rows, n_columns)) * volatility @ mixing / 2


def blobs(n_rows: int, n_columns: int) -> np.ndarray:
    """Twenty clusters in five percent of noise."""
    rng = np.random.default_rng(0)
    centers = rng.uniform(-10, 10, (20, n_columns))
    rows = centers[rng.integers(0, 20, n_rows)] + rng.standard_normal((n_rows, n_columns))
    noise = rng.random(n_rows) < 0.05
    rows[noise] = rng.uniform(-13, 13, (noise.sum(), n_columns))
    return rows


def run(program: str, table: np.ndarray, *arguments: str) -> subprocess.CompletedProcess:
    command = [program, *arguments, "--columns", str(table.shape[1])]
    done = subprocess.run(command, input=table.tobytes(), capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr.decode())
    return done


def timed(program: str, table: np.ndarray, params: dict[str, object], runs: int) -> dict:
    arguments = ["--params", json.dumps(params), "--runs", str(runs)]
    return json.loads(run(program, table, "time", *arguments).stdout)


def print_dbscan(program: str, runs: int) -> None:
    print("\nDBSCAN: seconds to cluster, and whether the labels are the same")
    for name, rows, eps, min_samples in (
        ("blobs 100,000 x 4", blobs(100_000, 4), 0.5, 8),
        ("market 100,000 x 4", market(100_000, 4), 0.5, 8),
        ("blobs 50,000 x 10", blobs(50_000, 10), 2.0, 20),
        ("market 50,000 x 10", market(50_000, 10), 2.0, 20),
    ):
        times = []
        for _ in range(runs):
            arguments = ["--eps", str(eps), "--min-samples", str(min_samples)]
            done = run(program, rows, "labels", *arguments)
            times.append(float(done.stderr))
        start = time.perf_counter()
        algorithm = "kd_tree" if rows.shape[1] < 8 else "ball_tree"
        peer = DBSCAN(eps=eps, min_samples=min_samples, algorithm=algorithm).fit(rows)
        theirs = time.perf_counter() - start
        same = np.array_equal(peer.labels_, np.frombuffer(done.stdout, "<i4"))
        seconds = statistics.median(times)
        others = rust_peers(rows, eps, min_samples, peer.labels_)
        print(
            f"{name:<20} ours {seconds:7.3f}  scikit-learn {theirs:7.2f}"
            f"  ratio {theirs / seconds:6.1f}  same labels: {same}{others}",
            flush=True,
        )


def rust_peers(rows: np.ndarray, eps: float, min_samples: int, expected: np.ndarray) -> str:
    """Seconds of linfa-clustering and smartcore, where `run.sh speed --rust-peers` has built them."""
    program = os.environ.get("DBSCAN_PEERS")
    said = ""
    for peer in ("linfa", "smartcore") if program else ():
        arguments = [program, peer, str(rows.shape[1]), str(eps), str(min_samples)]
        try:
            done = subprocess.run(
                arguments, input=rows.tobytes(), capture_output=True, check=False, timeout=PATIENCE
            )
        except subprocess.TimeoutExpired:
            said += f"  {peer} more than {PATIENCE}"
            continue
        if done.returncode != 0:
            said += f"  {peer} failed: {done.stderr.decode().strip()}"
            continue
        labels = np.frombuffer(done.stdout, "<i4")
        noise = np.array_equal(labels < 0, expected < 0)
        said += f"  {peer} {float(done.stderr):7.2f} (same noise: {noise})"
    return said


def print_single(program: str, runs: int) -> None:
    rows = market(100_000, 10)
    print("\n100,000 rows of 10 columns, fitted and scored")
    print(f"{'':<18} {'fit, ms':>9} {'batch, ns':>10} {'alone, ns':>10} {'explained, ns':>14} {'kB':>8}")
    for params in SINGLE:
        found = timed(program, rows, params, runs)
        print(
            f"{params['detector']:<18} {found['fit_s'] * 1e3:9.1f} {found['batch_ns']:10.0f}"
            f" {found['alone_ns']:10.0f} {found['explain_ns']:14.0f} {found['bytes'] / 1e3:8.0f}",
            flush=True,
        )
    print("\nDBSCAN scoring")
    for name, rows, eps in (
        ("blobs x 4", blobs(20_000, 4), 1.0),
        ("market x 4", market(20_000, 4), 1.0),
        ("blobs x 10", blobs(20_000, 10), 3.0),
        ("market x 10", market(20_000, 10), 3.0),
    ):
        params = {"detector": "dbscan", "scaling": "none", "eps": eps, "min_samples": 20}
        found = timed(program, rows, {**params, "max_rows": 10_500}, runs)
        core = found["facts"]["dbscan.core_rows"]
        print(f"{name:<18} {core:6.0f} core rows {found['batch_ns']:8.0f} ns/row", flush=True)


def training_rate(program: str, rows: np.ndarray, batch: int, runs: int) -> float:
    """Rows a second of an epoch: what ten more of them take."""
    seconds = []
    for epochs in (5, 15):
        params = {"detector": "autoencoder", "widths": [16, 4], "batch_size": batch}
        params |= {"max_epochs": epochs, "patience": epochs, "validation": 0.0}
        seconds.append(timed(program, rows, params, runs)["fit_s"])
    return 10 * len(rows) / (seconds[1] - seconds[0])


def print_autoencoder(program: str, runs: int) -> None:
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - any reason is said
        print(f"\nautoencoder: PyTorch can't be imported ({error}); ours alone")
        torch = None
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200_000, 10)) @ rng.standard_normal((10, 10))
    params = {"detector": "autoencoder", "widths": [16, 4], "max_epochs": 1}
    scored = timed(program, rows, params, runs)
    print("\nautoencoder 10-16-4-16-10, tanh, Adam")
    print(f"scoring: ours {scored['batch_ns']:.0f} ns/row in a batch, {scored['alone_ns']:.0f} alone")
    if torch is not None:
        torch.set_num_threads(1)
        print("         PyTorch {:.0f} ns/row in a batch, {:.0f} alone".format(*torch_scoring(torch, rows)))
    for batch in (64, 256, 1024):
        rate = training_rate(program, rows, batch, runs)
        line = f"training, batch {batch:>4}: ours {rate / 1e6:6.2f} million rows/s"
        if torch is not None:
            theirs = statistics.median(torch_training(torch, rows, batch) for _ in range(runs))
            line += f"  PyTorch {theirs / 1e6:6.2f}  ratio {rate / theirs:5.1f}"
        print(line, flush=True)


def torch_model(torch: object) -> object:
    layers = torch.nn
    return layers.Sequential(
        layers.Linear(10, 16), layers.Tanh(),
        layers.Linear(16, 4), layers.Tanh(),
        layers.Linear(4, 16), layers.Tanh(),
        layers.Linear(16, 10),
    )  # fmt: skip


def torch_scoring(torch: object, rows: np.ndarray) -> tuple[float, float]:
    model = torch_model(torch)
    table = torch.tensor(rows, dtype=torch.float32)

    def seconds(table: object, times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            ((model(table) - table) ** 2).mean(1)
        return (time.perf_counter() - start) / times

    with torch.no_grad():
        return seconds(table, 5) / len(rows) * 1e9, seconds(table[:1], 2_000) * 1e9


def torch_training(torch: object, rows: np.ndarray, batch: int) -> float:
    model = torch_model(torch)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scaled = (rows - rows.mean(0)) / rows.std(0)
    table = torch.tensor(scaled, dtype=torch.float32)
    loss = torch.nn.MSELoss()
    start = time.perf_counter()
    order = torch.randperm(len(rows))
    for first in range(0, len(rows), batch):
        some = table[order[first : first + batch]]
        optimizer.zero_grad(set_to_none=True)
        loss(model(some), some).backward()
        optimizer.step()
    return len(rows) / (time.perf_counter() - start)


def main() -> None:
    program = sys.argv[1]
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    print(f"one core, medians of {runs} runs (scikit-learn's DBSCAN: one)")
    print_dbscan(program, runs)
    if "--dbscan" in sys.argv[3:]:
        return
    print_single(program, runs)
    print_autoencoder(program, runs)


if __name__ == "__main__":
    main()
