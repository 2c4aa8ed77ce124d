"""Compares every form of our forest with its peers on labelled tables; run by run.sh."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import isotree
import joblib
import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

SKIPPED = {"19_landsat"}
METRICS = {"ROC-AUC": roc_auc_score, "AP": average_precision_score}
OURS = "ours"
SAMPLE_SIZE = 256

# Fits on a table, given the number of trees and a seed, and scores its rows: higher is more anomalous.
Peer = Callable[[np.ndarray, int, int], np.ndarray]
# Of each contender, one value per seed.
Values = dict[str, np.ndarray]


def scikit_learn(table: np.ndarray, n_trees: int, seed: int) -> np.ndarray:
    model = IsolationForest(n_estimators=n_trees, max_samples=SAMPLE_SIZE, random_state=seed)
    return -model.fit(table).score_samples(table)


def isotree_with(**parameters: object) -> Peer:
    def scores(table: np.ndarray, n_trees: int, seed: int) -> np.ndarray:
        model = isotree.IsolationForest(
            ntrees=n_trees,
            sample_size=SAMPLE_SIZE,
            missing_action="fail",
            # Tree t gets this seed plus t: seeds side by side would share most of their trees.
            random_seed=10_007 * (seed + 1),
            nthreads=1,
            **parameters,
        )
        return model.fit(table).predict(table)

    return scores


@dataclass(frozen=True)
class Form:
    """A form of the forest, what it is compared with, and the means over all tables that it should reach."""

    n_trees: int
    arguments: list[str]
    peers: dict[str, Peer]
    targets: dict[str, float] = field(default_factory=dict)


FORMS = {
    "classic": Form(
        n_trees=100,
        arguments=["--form", "classic"],
        peers={"scikit-learn": scikit_learn, "isotree": isotree_with(ndim=1)},
        targets={"ROC-AUC": 0.885, "AP": 0.565},
    ),
    "extended": Form(
        n_trees=100,
        arguments=["--form", "extended", "--extension-level", "1"],
        peers={"isotree": isotree_with(ndim=2)},
        targets={"ROC-AUC": 0.88, "AP": 0.565},
    ),
    "sci_forest": Form(
        n_trees=200,
        arguments=["--form", "sci_forest"],
        peers={
            "isotree": isotree_with(
                ndim=2, ntry=10, prob_pick_avg_gain=1, coefs="normal", penalize_range=True
            )
        },
        targets={"ROC-AUC": 0.855, "AP": 0.57},
    ),
    "fair_cut": Form(
        n_trees=200,
        arguments=["--form", "fair_cut"],
        peers={
            "isotree": isotree_with(ndim=2, ntry=1, prob_pick_pooled_gain=1, coefs="normal")
        },
        targets={"ROC-AUC": 0.88, "AP": 0.58},
    ),
    "adjusted_depth": Form(
        n_trees=100,
        arguments=["--form", "classic", "--scoring", "adjusted_depth"],
        peers={"isotree": isotree_with(ndim=1, scoring_metric="adj_depth")},
    ),
    "density": Form(
        n_trees=100,
        arguments=["--form", "classic", "--scoring", "density"],
        peers={"isotree": isotree_with(ndim=1, scoring_metric="density")},
    ),
}


@dataclass(frozen=True)
class Table:
    name: str
    records: np.ndarray
    labels: np.ndarray


def read_tables(folder: Path) -> list[Table]:
    paths = [path for path in folder.glob("*.npz") if path.stem not in SKIPPED]
    tables = []
    for path in sorted(paths, key=lambda path: int(path.stem.split("_")[0])):
        data = np.load(path)
        records = np.ascontiguousarray(data["X"], dtype="<f8")
        tables.append(Table(path.stem, records, data["y"].astype(int)))
    return tables


def our_scores(program: str, form: Form, records: np.ndarray, seed: int) -> np.ndarray:
    command = [program, *form.arguments, "--columns", str(records.shape[1]), "--seed", str(seed)]
    command += ["--n-trees", str(form.n_trees), "--sample-size", str(SAMPLE_SIZE)]
    done = subprocess.run(command, input=records.tobytes(), capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode().strip())
    return np.frombuffer(done.stdout, dtype="<f8")


def judge(program: str, name: str, table: Table, seed: int) -> dict[str, list[float]]:
    """The metrics of each contender with one seed, in the order of `METRICS`."""
    form = FORMS[name]
    scores = {OURS: our_scores(program, form, table.records, seed)}
    with warnings.catch_warnings():
        # Where a table has fewer rows than a sample, all take all rows; two say so every time.
        warnings.simplefilter("ignore", UserWarning)
        for peer_name, peer in form.peers.items():
            scores[peer_name] = peer(table.records, form.n_trees, seed)
    return {
        contender: [metric(table.labels, values) for metric in METRICS.values()]
        for contender, values in scores.items()
    }


def standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def difference(ours: np.ndarray, peer: np.ndarray) -> str:
    """Difference of the means in standard errors of that difference (Welch)."""
    error = np.hypot(standard_error(ours), standard_error(peer))
    return f"{(ours.mean() - peer.mean()) / error:+.1f}" if error > 0 else "-"


def cells(values: Values) -> str:
    ours = values[OURS]
    line = f" {ours.mean():.4f} ± {standard_error(ours):.4f}"
    for contender, peer in values.items():
        if contender != OURS:
            line += f" | {peer.mean():.4f} ± {standard_error(peer):.4f} {difference(ours, peer):>6}"
    return line


def print_form(
    name: str, tables: list[Table], results: list[dict[str, Values]]
) -> dict[str, Values]:
    """Prints the tables of one form; `results` holds, per table, the values of each metric."""
    form = FORMS[name]
    print(f"\n{name}: {form.n_trees} trees of {SAMPLE_SIZE} rows")
    means = {}
    for metric in METRICS:
        head = f"{metric:<20} {'rows':>6} {'cols':>4} {OURS:>16}"
        print(head + "".join(f" | {peer:>15} {'diff':>6}" for peer in form.peers))
        for table, result in zip(tables, results, strict=True):
            n_rows, n_columns = table.records.shape
            print(f"{table.name:<20} {n_rows:>6} {n_columns:>4}{cells(result[metric])}")
        means[metric] = {
            contender: np.mean([result[metric][contender] for result in results], axis=0)
            for contender in (OURS, *form.peers)
        }
        print(f"{'mean':<20} {'':>6} {'':>4}{cells(means[metric])}", flush=True)
    return means


def print_targets(means: dict[str, dict[str, Values]], n_tables: int) -> None:
    print(f"\nmeans over {n_tables} tables; diff: ours less the peer, in standard errors of that")
    print(
        f"{'form':<15} {'metric':<8} {'ours':>16} {'target':>7} {'':<8}"
        f" {'peer':<13} {'its mean':>15} {'diff':>6}"
    )
    for name, metrics in means.items():
        for metric, values in metrics.items():
            ours, target = values[OURS], FORMS[name].targets.get(metric)
            line = f"{name:<15} {metric:<8} {ours.mean():>7.4f} ± {standard_error(ours):.4f} "
            if target is None:
                line += f"{'-':>7} {'':<8}"
            else:
                verdict = "reached" if ours.mean() >= target else "missed"
                line += f"{target:>7.3f} {verdict:<8}"
            for peer in FORMS[name].peers:
                their = values[peer]
                print(
                    f"{line} {peer:<13} {their.mean():.4f} ± {standard_error(their):.4f}"
                    f" {difference(ours, their):>6}"
                )
                line = " " * len(line)


def main() -> None:
    program, folder, n_seeds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    names = sys.argv[4].split(",") if len(sys.argv) > 4 else list(FORMS)
    for name in names:
        if name not in FORMS:
            sys.exit(f"unknown form `{name}`; there are: {', '.join(FORMS)}")
    tables = read_tables(folder)
    if not tables:
        sys.exit(f"no .npz tables in `{folder}`")
    print(
        f"fitted and scored on the same rows without labels, {n_seeds} seeds; "
        f"peers: scikit-learn {version('scikit-learn')}, isotree {version('isotree')}"
    )
    print(
        "mean over seeds ± its standard error; diff: ours less the peer, in standard errors of that"
    )

    means = {}
    # One process per core; neither ours nor a peer scores otherwise with another number of threads.
    with joblib.Parallel(n_jobs=-1) as parallel:
        for name in names:
            try:
                judged = parallel(
                    joblib.delayed(judge)(program, name, table, seed)
                    for table in tables
                    for seed in range(n_seeds)
                )
            except RuntimeError as error:
                sys.exit(f"{name}: {error}")
            results = []
            for first in range(0, len(judged), n_seeds):
                seeds = judged[first : first + n_seeds]
                results.append(
                    {
                        metric: {
                            contender: np.array([seed[contender][metric_idx] for seed in seeds])
                            for contender in seeds[0]
                        }
                        for metric_idx, metric in enumerate(METRICS)
                    }
                )
            means[name] = print_form(name, tables, results)
    print_targets(means, len(tables))


if __name__ == "__main__":
    main()
