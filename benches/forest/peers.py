"""Times our forest and its peers in turns on the same table; run by run.sh.

Usage: peers.py BENCH_PROGRAM WORK_FOLDER N_ROWS N_RUNS
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import coniferest.isoforest
import isotree
import joblib
import numpy as np
import onnxruntime
import skl2onnx
import sklearn.ensemble

N_COLUMNS = 10
N_SMALL = 1024
# Rows that are scored one by one, and of smaller tables that are scored together.
N_SINGLE = 50
N_SMALL_CALLS = 5
# onnxruntime needs memory for every pair of a row and a tree.
ONNX_CHUNK_ROWS = 10_000
SEED = 42
N_THREADS = os.cpu_count() or 1

# Measurements by our bench's names, with the heads of their columns.
COLUMNS = {
    "fit": "fit, ms",
    "fit_drawn_rows": "fit, drawn rows checked, ms",
    "fit_all_threads": f"fit, {N_THREADS} threads, ms",
    "score_one_thread": "one thread, ns/row",
    "score_all_threads": f"{N_THREADS} threads, ns/row",
    "score_one_row": "1 row, µs",
    "score_1024_rows": "1024 rows, ms",
    "contributions": "contributions, ns/row",
    "load": "load, µs",
}

Table = np.ndarray
Score = Callable[[Table], object]


@dataclass(frozen=True)
class Sizes:
    n_trees: int
    sample_size: int


@dataclass(frozen=True)
class Peer:
    """`fit` on a table with a number of threads gives a function that scores."""

    name: str
    fit: Callable[[Table, Sizes, int], Score]
    times_fit: bool = True


def scikit_learn_model(table: Table, sizes: Sizes) -> sklearn.ensemble.IsolationForest:
    # On one thread whatever the number: on two it takes longer.
    model = sklearn.ensemble.IsolationForest(
        n_estimators=sizes.n_trees, max_samples=sizes.sample_size, random_state=SEED
    )
    return model.fit(table)


def fit_scikit_learn(table: Table, sizes: Sizes, n_threads: int) -> Score:
    model = scikit_learn_model(table, sizes)

    def score(rows: Table) -> object:
        with joblib.parallel_config(backend="threading", n_jobs=n_threads):
            scores = model.score_samples(rows)
        return scores

    return score


def fit_coniferest(table: Table, sizes: Sizes, n_threads: int) -> Score:
    model = coniferest.isoforest.IsolationForest(
        n_trees=sizes.n_trees, n_subsamples=sizes.sample_size, n_jobs=n_threads, random_seed=SEED
    )
    return model.fit(table).score_samples


def isotree_with(**parameters: object) -> Callable[[Table, Sizes, int], Score]:
    def fit(table: Table, sizes: Sizes, n_threads: int) -> Score:
        model = isotree.IsolationForest(
            ntrees=sizes.n_trees,
            sample_size=sizes.sample_size,
            missing_action="fail",
            random_seed=SEED,
            nthreads=n_threads,
            **parameters,
        )
        return model.fit(table).predict

    return fit


def export_to_onnx(table: Table, sizes: Sizes, n_threads: int) -> Score:
    model = scikit_learn_model(table, sizes)
    one_row = table[:1].astype(np.float32)
    exported = skl2onnx.to_onnx(model, one_row, target_opset={"": 17, "ai.onnx.ml": 3})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    session = onnxruntime.InferenceSession(
        exported.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def score(rows: Table) -> object:
        for first in range(0, len(rows), ONNX_CHUNK_ROWS):
            chunk = rows[first : first + ONNX_CHUNK_ROWS].astype(np.float32)
            session.run(["scores"], {"X": chunk})

    return score


SCIKIT_LEARN = Peer("scikit-learn", fit_scikit_learn)
CONIFEREST = Peer("coniferest", fit_coniferest)


@dataclass(frozen=True)
class Form:
    sizes: Sizes
    peers: list[Peer]


FORMS = {
    "classic": Form(
        Sizes(n_trees=100, sample_size=256),
        [
            SCIKIT_LEARN,
            Peer("isotree", isotree_with(ndim=1)),
            CONIFEREST,
            Peer("onnxruntime", export_to_onnx, times_fit=False),
        ],
    ),
    "extended": Form(Sizes(n_trees=100, sample_size=256), [Peer("isotree", isotree_with(ndim=2))]),
    "sci_forest": Form(
        Sizes(n_trees=100, sample_size=256),
        [
            Peer(
                "isotree",
                isotree_with(
                    ndim=2, ntry=10, prob_pick_avg_gain=1, coefs="normal", penalize_range=True
                ),
            )
        ],
    ),
    "fair_cut": Form(
        Sizes(n_trees=100, sample_size=256),
        [
            Peer(
                "isotree",
                isotree_with(ndim=2, ntry=1, prob_pick_pooled_gain=1, coefs="normal"),
            )
        ],
    ),
}


def write_table(path: Path, n_rows: int, n_columns: int) -> Table:
    """A C-ordered table of standard normal values, also written to `path` as raw little-endian doubles."""
    table = np.random.default_rng(1).standard_normal((n_rows, n_columns)).astype("<f8")
    table.tofile(path)
    return table


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def our_times(bench: str, arguments: list[str]) -> list[dict]:
    """Every measurement of our bench: its form, instructions, name, unit and the value of each run."""
    command = [bench, "--bench", "--json", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


class PeerTimes:
    """A peer's forests, fitted once, and their times."""

    def __init__(self, peer: Peer, table: Table, sizes: Sizes) -> None:
        self.peer, self.table, self.sizes = peer, table, sizes
        self.one_thread = peer.fit(table, sizes, 1)
        self.all_threads = peer.fit(table, sizes, N_THREADS)

    def measure(self) -> dict[str, float]:
        """One value of each measurement, in the units of `COLUMNS`."""
        times = {
            "score_one_thread": self.seconds_to_score(self.one_thread, len(self.table), 1),
            "score_all_threads": self.seconds_to_score(self.all_threads, len(self.table), 1),
        }
        times = {name: value * (1e9 / len(self.table)) for name, value in times.items()}
        times["score_1024_rows"] = 1e3 * self.seconds_to_score(
            self.one_thread, N_SMALL, N_SMALL_CALLS
        )
        times["score_one_row"] = 1e6 * self.seconds_to_score(self.one_thread, 1, N_SINGLE)
        if self.peer.times_fit:
            times["fit"] = 1e3 * self.seconds_to_fit(1)
            times["fit_all_threads"] = 1e3 * self.seconds_to_fit(N_THREADS)
        return times

    def seconds_to_fit(self, n_threads: int) -> float:
        return seconds(lambda: self.peer.fit(self.table, self.sizes, n_threads))

    def seconds_to_score(self, score: Score, n_rows: int, n_calls: int) -> float:
        """Seconds of a call with `n_rows` rows, other ones in each of `n_calls` calls, after one that isn't timed."""
        n_starts = len(self.table) - n_rows + 1
        starts = [(call * n_rows) % n_starts for call in range(n_calls)]
        tables = [self.table[start : start + n_rows] for start in starts]
        score(tables[0][:N_SMALL])
        return seconds(lambda: [score(table) for table in tables]) / n_calls


def print_form(form: str, times: dict[str, dict[str, list[float]]]) -> None:
    sizes = FORMS[form].sizes
    print(f"\n{form}, {sizes.n_trees} trees of {sizes.sample_size} rows\n")
    measured = [name for name in COLUMNS if any(name in values for values in times.values())]
    ours = next(iter(times.values()))
    rows = [["", *(COLUMNS[name] for name in measured)]]
    for contender, values in times.items():
        row = [contender]
        for name in measured:
            if name not in values:
                row.append("")
                continue
            median = statistics.median(values[name])
            cell = three_digits(median)
            if values is not ours and name in ours:
                cell += f" ({three_digits(median / statistics.median(ours[name]))}×)"
            row.append(cell)
        rows.append(row)
    print_markdown(rows)


def three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def print_markdown(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    for row in [rows[0], rule, *rows[1:]]:
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print("| " + " | ".join([first, *rest]) + " |", flush=True)


def main() -> None:
    bench, work, n_rows, n_runs = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    path = work / "table.f64"
    table = write_table(path, n_rows, N_COLUMNS)
    arguments = ["--data", str(path), "--rows", str(n_rows), "--columns", str(N_COLUMNS)]
    arguments += ["--threads", str(N_THREADS), "--runs", "1", "--simd", "all"]

    # By form, contender and measurement.
    times: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    peers: dict[tuple[str, str], PeerTimes] = {}
    for run in range(n_runs):
        print(f"\rrun {run + 1} of {n_runs} ", end="", file=sys.stderr, flush=True)
        for form in FORMS:
            for measurement in our_times(bench, [*arguments, "--form", form]):
                contender = f"ours, {measurement['simd']}"
                times[form][contender][measurement["name"]] += measurement["values"]
            for peer in FORMS[form].peers:
                if run == 0:
                    peers[form, peer.name] = PeerTimes(peer, table, FORMS[form].sizes)
                for name, value in peers[form, peer.name].measure().items():
                    times[form][peer.name][name].append(value)
    print(file=sys.stderr)

    print(f"{n_rows:,} rows × {N_COLUMNS} columns, {N_THREADS} threads, medians of {n_runs} runs")
    packages = ("scikit-learn", "isotree", "coniferest", "onnxruntime", "numpy")
    print(", ".join(f"{package} {version(package)}" for package in packages))
    print("ours with each kind of vector instructions; in parentheses the ratio to the first line")
    for form, contenders in times.items():
        print_form(form, contenders)


if __name__ == "__main__":
    main()
