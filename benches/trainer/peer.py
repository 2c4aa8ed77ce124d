"""The trainer's job in pandas and scikit-learn: peer.py FILE N_RESAMPLES MODEL.

Reads the Parquet table, splits it 60 / 20 / 20 in time, fits an Isolation Forest and the largest-|z|
baseline on a sample of a million training rows, scores validation and test rows on all cores, sets a
threshold per symbol by an alert budget on validation rows, and measures on test rows: ROC-AUC, average
precision, precision, recall, F1, events caught and false alerts per symbol and day, with intervals by
circular block bootstrap within each symbol. Saves the model. Prints one JSON document.
"""

import json
import sys
import time

import joblib
import numpy as np
import pandas as pd
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

SEED = 42
MAX_TRAIN_ROWS = 1_000_000
ALERTS_PER_SYMBOL_DAY = 1.0
ROWS_PER_DAY = 1440
LEVEL = 0.95


class Clock:
    """Seconds by phase."""

    def __init__(self):
        self.seconds, self.last = {}, time.perf_counter()

    def lap(self, name):
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.last
        self.last = now


def flags_of(score, symbol, threshold):
    return score > threshold[symbol]


def metrics(label, score, flag, n_events, n_caught):
    """The metrics of scored rows; events are counted by the caller."""
    n_true, n_labelled, n_flagged = (label & flag).sum(), label.sum(), flag.sum()
    symbol_days = (len(label) - n_labelled) / ROWS_PER_DAY
    return {
        "roc_auc": roc_auc_score(label, score),
        "average_precision": average_precision_score(label, score),
        "precision": n_true / n_flagged if n_flagged else np.nan,
        "recall": n_true / n_labelled if n_labelled else np.nan,
        "f1": 2 * n_true / (n_flagged + n_labelled),
        "event_recall": n_caught / n_events if n_events else np.nan,
        "false_alerts_per_symbol_day": (n_flagged - n_true) / symbol_days,
    }


def resample(seed, starts, by_symbol, longest, label, event_start, scored):
    """One circular block bootstrap within each symbol: the metrics of each of `scored`."""
    random = np.random.default_rng(seed)
    rows = []
    for start, n_rows in zip(starts, by_symbol):
        block = min(max(int(np.ceil(np.cbrt(n_rows))), longest), n_rows // 4)
        first = random.integers(n_rows, size=-(-n_rows // block))
        rows.append(start + (first[:, None] + np.arange(block)).ravel()[:n_rows] % n_rows)
    rows = np.concatenate(rows)
    drawn, n_drawn = label[rows], int(event_start[rows].sum())
    return [
        list(metrics(drawn, scores[rows], flag[rows], n_drawn, int(caught[rows].sum())).values())
        for scores, flag, caught in scored
    ]


def main():
    path, n_resamples, model_path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    clock = Clock()
    table = pd.read_parquet(path)
    features = [name for name in table.columns if name not in ("time", "symbol", "label")]
    symbol, names = pd.factorize(table["symbol"])
    clock.lap("read")

    times = table["time"].dt.tz_localize(None).to_numpy()
    n = len(times)
    validation_from = np.partition(times, round(0.6 * n))[round(0.6 * n)]
    test_from = np.partition(times, round(0.8 * n))[round(0.8 * n)]
    is_train, is_test = times < validation_from, times >= test_from
    is_validation = ~is_train & ~is_test
    train = table.loc[is_train, features]
    if len(train) > MAX_TRAIN_ROWS:
        train = train.sample(MAX_TRAIN_ROWS, random_state=SEED)
    train = train.to_numpy()
    validation = table.loc[is_validation, features].to_numpy()
    test = table.loc[is_test, features].to_numpy()
    label = table.loc[is_test, "label"].to_numpy().astype(bool)
    validation_symbol, test_symbol = symbol[is_validation], symbol[is_test]
    del table
    clock.lap("split")

    forest = IsolationForest(n_estimators=100, max_samples=256, random_state=SEED, n_jobs=-1)
    forest.fit(train)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    clock.lap("fit")

    def forest_scores(rows):
        # Scoring takes its threads from joblib's context, not from the forest's `n_jobs`.
        with joblib.parallel_config(backend="threading", n_jobs=-1):
            return -forest.score_samples(rows)

    detectors = {
        "iforest": forest_scores,
        "largest |z|": lambda rows: np.abs((rows - mean) / deviation).max(axis=1),
    }
    # Rows of one symbol side by side, in time, as blocks and events need them.
    order = np.argsort(test_symbol, kind="stable")
    by_symbol = np.bincount(test_symbol, minlength=len(names))
    ends = by_symbol.cumsum()
    starts = ends - by_symbol
    label, test_symbol = label[order], test_symbol[order]
    is_start = np.zeros(len(label), bool)
    is_start[starts[by_symbol > 0]] = True
    event_start = label & (is_start | ~np.roll(label, 1))
    event = np.cumsum(event_start) - 1
    first_rows = np.flatnonzero(event_start)
    n_events = len(first_rows)
    longest = int(np.bincount(event[label]).max()) if n_events else 1
    clock.lap("evaluate")

    result, scored = {}, {}
    for name, score_of in detectors.items():
        scores = score_of(validation)
        clock.lap("score")
        quantile = 1 - ALERTS_PER_SYMBOL_DAY / ROWS_PER_DAY
        threshold = pd.Series(scores).groupby(validation_symbol).quantile(quantile).to_numpy()
        clock.lap("evaluate")
        scores = score_of(test)
        clock.lap("score")
        scores = scores[order]
        flag = flags_of(scores, test_symbol, threshold)
        caught = np.zeros(len(label), bool)
        caught[first_rows] = np.bincount(event[label & flag], minlength=n_events) > 0
        result[name] = metrics(label, scores, flag, n_events, int(caught.sum()))
        scored[name] = (scores, flag, caught)
        clock.lap("evaluate")

    # Large arrays go to the workers as shared memory maps.
    samples = joblib.Parallel(n_jobs=-1)(
        joblib.delayed(resample)(
            SEED + number, starts, by_symbol, longest, label, event_start, list(scored.values())
        )
        for number in range(n_resamples)
    )
    samples = dict(zip(detectors, np.moveaxis(np.array(samples), 0, 1))) if n_resamples else {}
    outside = (1 - LEVEL) / 2
    for name in detectors:
        if n_resamples:
            bounds = np.nanquantile(samples[name], [outside, 1 - outside], axis=0)
            for metric, low, high in zip(list(result[name]), *bounds):
                result[name][f"{metric}.low"], result[name][f"{metric}.high"] = low, high
    clock.lap("bootstrap")

    joblib.dump((forest, mean, deviation), model_path)
    clock.lap("save")
    print(json.dumps({"metrics": result, "seconds": clock.seconds}, default=float))


if __name__ == "__main__":
    main()
