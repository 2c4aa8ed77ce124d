"""Compares our detectors with scikit-learn's, isotree's and PyOD's on labelled tables; run by run.sh.

Usage: quality.py PROGRAM DIR_OF_NPZ [SEEDS]
"""

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "forest-quality"))
from compare import METRICS, isotree_with, read_tables, scikit_learn  # noqa: E402

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
    found = [Contender(f"ours: {name}", ours(program, keys), seeded) for name, keys, seeded in OURS]
    return found + [
        Contender("PyOD: ECOD", pyod("ECOD"), seeded=False),
        Contender("PyOD: HBOS", pyod("HBOS"), seeded=False),
        Contender("PyOD: COPOD", pyod("COPOD"), seeded=False),
        Contender("PyOD: kNN(5)", standardized(pyod("KNN")), seeded=False),
        Contender("scikit-learn: IsolationForest", of_trees(scikit_learn, 100)),
        Contender("scikit-learn: MinCovDet", standardized(robust_covariance)),
        Contender("scikit-learn: GaussianMixture", standardized(mixture)),
        Contender("isotree: classic", of_trees(isotree_with(ndim=1), 100)),
        Contender("isotree: fair-cut", of_trees(fair_cut, 200)),
    ]


def judge(contender: Contender, table: object, seed: int) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = contender.score(table.records, seed)
    return [metric(table.labels, scores) for metric in METRICS.values()]


def main() -> None:
    program, folder = sys.argv[1], Path(sys.argv[2])
    n_seeds = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    tables = read_tables(folder)
    if not tables:
        sys.exit(f"no .npz tables in `{folder}`")
    packages = ", ".join(f"{name} {version(name)}" for name in ("scikit-learn", "isotree", "pyod"))
    print(f"{len(tables)} tables, fitted and scored on the same rows without labels, {n_seeds} seeds")
    print(f"mean over the tables ± standard deviation over the seeds; {packages}")
    print(f"{'':<32}" + "".join(f" {name:>16}" for name in METRICS))
    with joblib.Parallel(n_jobs=-1) as parallel:
        for contender in contenders(program):
            seeds = n_seeds if contender.seeded else 1
            judged = parallel(
                joblib.delayed(judge)(contender, table, seed)
                for table in tables
                for seed in range(seeds)
            )
            # (tables, seeds, metrics)
            values = np.array(judged).reshape(len(tables), seeds, len(METRICS)).mean(axis=0)
            line = f"{contender.name:<32}"
            for metric in range(len(METRICS)):
                of_seeds = values[:, metric]
                spread = f"± {of_seeds.std(ddof=1):.4f}" if seeds > 1 else "(no seed)"
                line += f" {of_seeds.mean():.4f} {spread:<9}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
