"""Compares our detectors with scikit-learn's, isotree's and PyOD's on labelled tables; run by run.sh.

Usage: quality.py PROGRAM DIR_OF_NPZ [SEEDS]

Prints Markdown: means over the tables, ours beside its peers; then every contender on every table.
"""

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "forest-quality"))
from compare import METRICS, Table, isotree_with, read_tables, scikit_learn  # noqa: E402

# What the best single detector and the calibrated ensemble are to reach: means over the tables.
TARGETS = {"single": {"AP": 0.588}, "consensus": {"AP": 0.60, "ROC-AUC": 0.90}}

# Fits on a table with a seed and scores its rows: higher is more anomalous.
Score = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Contender:
    name: str
    score: Score
    # Without a seed every run is the same.
    seeded: bool = True


def ours(program: str, params: dict[str, object]) -> Score:
    def score(table: np.ndarray, seed: int) -> np.ndarray:
        command = [program, "score", "--columns", str(table.shape[1]), "--seed", str(seed)]
        command += ["--params", json.dumps(params)]
        done = subprocess.run(command, input=table.tobytes(), capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.decode().strip())
        return np.frombuffer(done.stdout, dtype="<f8")

    return score


def forest(form: str, **keys: object) -> dict[str, object]:
    return {"detector": "isolation_forest", "form": form, "n_trees": 200, **keys}


FAIR_CUT_3 = forest("fair_cut", hyperplane_columns=3, n_trees=500)
# Ours: a name, its keys, whether it has a seed.
OURS: list[tuple[str, dict[str, object], bool]] = [
    ("largest |z|", {"detector": "max_z"}, False),
    ("ECOD", {"detector": "ecod"}, False),
    ("HBOS", {"detector": "hbos"}, False),
    ("kNN(5)", {"detector": "knn"}, False),
    ("DBSCAN", {"detector": "dbscan"}, False),
    ("Mahalanobis, robust", {"detector": "mahalanobis"}, True),
    ("Gaussian mixture", {"detector": "gaussian_mixture"}, True),
    ("autoencoder", {"detector": "autoencoder"}, True),
    ("half-space trees", {"detector": "half_space_trees"}, True),
    ("forest, classic", forest("classic", n_trees=100), True),
    ("forest, fair-cut", forest("fair_cut"), True),
    ("forest, fair-cut of 3 columns", FAIR_CUT_3, True),
    ("forest, SCiForest", forest("sci_forest"), True),
    ("consensus, mean of tails", {"detector": "consensus"}, True),
    ("consensus, rank average", {"detector": "consensus", "combination": "rank_average"}, True),
    ("consensus, largest tail", {"detector": "consensus", "combination": "max"}, True),
]


def pyod(name: str, **keys: object) -> Score:
    def score(table: np.ndarray, _seed: int) -> np.ndarray:
        from importlib import import_module

        detector = getattr(import_module(f"pyod.models.{name.lower()}"), name)(**keys)
        return detector.fit(table).decision_scores_

    return score


def standardized(score: Score) -> Score:
    def scaled(table: np.ndarray, seed: int) -> np.ndarray:
        from sklearn.preprocessing import StandardScaler

        return score(StandardScaler().fit_transform(table), seed)

    return scaled


def of_trees(peer: Callable[[np.ndarray, int, int], np.ndarray], n_trees: int) -> Score:
    return lambda table, seed: peer(table, n_trees, seed)


def robust_covariance(table: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.covariance import MinCovDet

    return MinCovDet(random_state=seed, support_fraction=0.75).fit(table).mahalanobis(table)


def mixture(table: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(3, reg_covar=1e-3, n_init=3, random_state=seed)
    return -model.fit(table).score_samples(table)


def contenders(program: str) -> list[Contender]:
    fair_cut = isotree_with(ndim=2, ntry=1, prob_pick_pooled_gain=1, coefs="normal")
    sci_forest = isotree_with(
        ndim=2, ntry=10, prob_pick_avg_gain=1, coefs="normal", penalize_range=True
    )
    found = [Contender(f"ours: {name}", ours(program, keys), seeded) for name, keys, seeded in OURS]
    return found + [
        Contender("PyOD: ECOD", pyod("ECOD"), seeded=False),
        Contender("PyOD: HBOS", pyod("HBOS"), seeded=False),
        Contender("PyOD: COPOD", pyod("COPOD"), seeded=False),
        Contender("PyOD: kNN(5)", standardized(pyod("KNN")), seeded=False),
        Contender("PyOD: PCA", pyod("PCA"), seeded=False),
        Contender("PyOD: LOF", standardized(pyod("LOF")), seeded=False),
        Contender("scikit-learn: IsolationForest", of_trees(scikit_learn, 100)),
        Contender("scikit-learn: MinCovDet", standardized(robust_covariance)),
        Contender("scikit-learn: GaussianMixture", standardized(mixture)),
        Contender("isotree: classic", of_trees(isotree_with(ndim=1), 100)),
        Contender("isotree: fair-cut", of_trees(fair_cut, 200)),
        Contender("isotree: SCiForest", of_trees(sci_forest, 200)),
    ]


# Of ours, the peers that do the same.
PEERS: dict[str, list[str]] = {
    "ECOD": ["PyOD: ECOD"],
    "HBOS": ["PyOD: HBOS"],
    "kNN(5)": ["PyOD: kNN(5)"],
    "Mahalanobis, robust": ["scikit-learn: MinCovDet"],
    "Gaussian mixture": ["scikit-learn: GaussianMixture"],
    "forest, classic": ["scikit-learn: IsolationForest", "isotree: classic"],
    "forest, fair-cut": ["isotree: fair-cut"],
    "forest, SCiForest": ["isotree: SCiForest"],
}

# Per contender: (tables, seeds, metrics).
Results = dict[str, np.ndarray]


def judge(contender: Contender, table: Table, seed: int) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = contender.score(table.records, seed)
    return [metric(table.labels, scores) for metric in METRICS.values()]


def cell(of_seeds: np.ndarray, digits: int = 4) -> str:
    """Mean ± standard deviation over the seeds."""
    text = f"{of_seeds.mean():.{digits}f}"
    return f"{text} ± {of_seeds.std(ddof=1):.{digits}f}" if len(of_seeds) > 1 else text


def row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def means(results: Results, name: str, metric: int) -> np.ndarray:
    """The mean over the tables, of each seed."""
    return results[name][:, :, metric].mean(axis=0)


def print_means(results: Results) -> None:
    print("\n## Means over the tables\n")
    heads = [f"{side} {metric}" for side in ("ours:", "theirs:") for metric in METRICS]
    print(row(["", *heads[: len(METRICS)], "the same of others", *heads[len(METRICS) :]]))
    print(row(["---"] * (2 + len(heads))))
    left = [name for name in results if not name.startswith("ours: ")]
    for name, _, _ in OURS:
        peers = PEERS.get(name, [])
        mine = [cell(means(results, f"ours: {name}", metric)) for metric in range(len(METRICS))]
        for at, peer in enumerate(peers or [None]):
            theirs = ["", *[""] * len(METRICS)]
            if peer is not None:
                left.remove(peer)
                theirs = [peer, *(cell(means(results, peer, m)) for m in range(len(METRICS)))]
            print(row([name, *mine, *theirs] if at == 0 else ["", *[""] * len(mine), *theirs]))
    for peer in left:
        theirs = [cell(means(results, peer, metric)) for metric in range(len(METRICS))]
        print(row(["", *[""] * len(METRICS), peer, *theirs]))


def print_targets(results: Results) -> None:
    print("\n## Targets\n")
    kinds = {"single": [], "consensus": []}
    for name, _, _ in OURS:
        kinds["consensus" if name.startswith("consensus") else "single"].append(name)
    at = list(METRICS).index("AP")
    for kind, targets in TARGETS.items():
        best = max(kinds[kind], key=lambda name: means(results, f"ours: {name}", at).mean())
        for metric, target in targets.items():
            found = means(results, f"ours: {best}", list(METRICS).index(metric))
            verdict = "reached" if found.mean() >= target else "missed"
            print(f"- best {kind}: {best}: {metric} {cell(found)}, target {target}: {verdict}")


def print_tables(results: Results, tables: list[Table]) -> None:
    for at, metric in enumerate(METRICS):
        print(f"\n## {metric}, table by table\n")
        print(row(["", *(table.name.split("_", 1)[1] for table in tables)]))
        print(row(["---"] * (1 + len(tables))))
        for name, values in results.items():
            print(row([name, *(cell(of_table[:, at], 3) for of_table in values)]))


def main() -> None:
    program, folder = sys.argv[1], Path(sys.argv[2])
    n_seeds = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    tables = read_tables(folder)
    if not tables:
        sys.exit(f"no .npz tables in `{folder}`")
    packages = ", ".join(f"{name} {version(name)}" for name in ("scikit-learn", "isotree", "pyod"))
    print(f"{len(tables)} tables, fitted and scored on the same rows without labels, {n_seeds} seeds;")
    print(f"± standard deviation over the seeds; {packages}")
    results: Results = {}
    with joblib.Parallel(n_jobs=-1) as parallel:
        for contender in contenders(program):
            seeds = n_seeds if contender.seeded else 1
            started = time.monotonic()
            try:
                judged = parallel(
                    joblib.delayed(judge)(contender, table, seed)
                    for table in tables
                    for seed in range(seeds)
                )
            except RuntimeError as error:
                sys.exit(f"{contender.name}: {error}")
            shape = (len(tables), seeds, len(METRICS))
            results[contender.name] = np.array(judged).reshape(shape)
            spent = time.monotonic() - started
            print(f"{contender.name}: {spent:.0f} s", file=sys.stderr, flush=True)
    print_means(results)
    print_targets(results)
    print_tables(results, tables)


if __name__ == "__main__":
    main()
