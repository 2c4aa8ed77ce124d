"""Compares our Isolation Forest with scikit-learn's on labelled tables; run by run.sh."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import sklearn
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

EXPERIMENT = str(Path(__file__).parent.resolve() / "experiment.toml")
SKIPPED = {"19_landsat"}
METRICS = {"ROC-AUC": roc_auc_score, "AP": average_precision_score}


def our_scores(trainer, table, labels, n_seeds, folder):
    """Scores by `trainer run`, shape (n_samples, n_seeds)."""
    names = [f"x{column}" for column in range(table.shape[1])] + ["label"]
    # 17 digits read back as the same number.
    np.savetxt(
        folder / "table.csv",
        np.column_stack([table, labels]),
        fmt="%.17g",
        delimiter=",",
        header=",".join(names),
        comments="",
    )
    scores = []
    for seed in range(n_seeds):
        command = [trainer, "run", EXPERIMENT, "--data", "table.csv", "--scores", "scores.parquet"]
        command += ["--set", f"experiment.seed={seed}", "--quiet", "--output", "json"]
        command += ["--tracking-uri", "sqlite:///foreshock/registry.db"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        scores.append(parquet.read_table(folder / "scores.parquet")["score"].to_numpy())
    return np.column_stack(scores)


def peer_scores(table, n_seeds):
    """Scores by scikit-learn with its default settings, shape (n_samples, n_seeds)."""
    return np.column_stack(
        [
            -IsolationForest(random_state=seed).fit(table).score_samples(table)
            for seed in range(n_seeds)
        ]
    )


def per_seed(metric, labels, scores):
    return np.array([metric(labels, column) for column in scores.T])


def difference_in_noise(ours, peer):
    """Difference of the means in standard errors of that difference (Welch)."""
    error = np.sqrt(ours.var(ddof=1) / len(ours) + peer.var(ddof=1) / len(peer))
    return (ours.mean() - peer.mean()) / error if error > 0 else float("nan")


def main():
    trainer, folder, n_seeds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    paths = sorted(
        (path for path in folder.glob("*.npz") if path.stem not in SKIPPED),
        key=lambda path: int(path.stem.split("_")[0]),
    )
    if not paths:
        sys.exit(f"no .npz tables in `{folder}`")
    print(
        f"scikit-learn {sklearn.__version__} and `trainer run`, default settings "
        f"(100 trees, 256 rows), fitted and scored on the same rows, {n_seeds} seeds"
    )
    print("mean ± standard deviation over seeds; diff: in standard errors of the difference")
    head = f"{'table':<20} {'rows':>6} {'cols':>4} "
    print(head + "".join(f"| {m + ' peer':>14} {m + ' ours':>14} {'diff':>6} " for m in METRICS))

    means = {name: ([], []) for name in METRICS}
    outside = []
    for path in paths:
        data = np.load(path)
        table, labels = data["X"].astype(np.float64), data["y"].astype(int)
        with tempfile.TemporaryDirectory() as temporary:
            ours = our_scores(trainer, table, labels, n_seeds, Path(temporary))
        peer = peer_scores(table, n_seeds)
        line = f"{path.stem:<20} {table.shape[0]:>6} {table.shape[1]:>4} "
        for name, metric in METRICS.items():
            peer_values = per_seed(metric, labels, peer)
            our_values = per_seed(metric, labels, ours)
            difference = difference_in_noise(our_values, peer_values)
            means[name][0].append(peer_values.mean())
            means[name][1].append(our_values.mean())
            if abs(difference) > 3:
                outside.append(f"{path.stem} {name} {difference:+.1f}")
            line += (
                f"| {peer_values.mean():.4f} ± {peer_values.std(ddof=1):.4f}"
                f" {our_values.mean():.4f} ± {our_values.std(ddof=1):.4f}"
                f" {difference:+6.1f} "
            )
        print(line, flush=True)

    for name, (peer_means, our_means) in means.items():
        print(
            f"mean {name} over {len(paths)} tables: "
            f"scikit-learn {np.mean(peer_means):.4f}, ours {np.mean(our_means):.4f}"
        )
    n_comparisons = len(paths) * len(METRICS)
    print(
        f"differences beyond 3 standard errors: {len(outside)} of {n_comparisons}"
        + (": " + ", ".join(outside) if outside else "")
    )


if __name__ == "__main__":
    main()
