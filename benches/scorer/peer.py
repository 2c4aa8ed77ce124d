"""The strongest Python pipeline that we know for this job: orjson, features and forest in numba, batches of 1,000.

    peer.py TRADES.jsonl closed|every|single [REPEATS]

prints the trades/s of each repeat as JSON, as `throughput` of the crate `streaming` does. Both take the same lines from
memory: parse, drop repeated ids, build candles of 10 s, six features over 60 candles, an isolation forest of 100 trees of
256 rows, a line of JSON for each closed row that has a score. `every` scores the open candle at each trade, too.
"""

import json
import sys
import time
from pathlib import Path

import numba
import numpy as np
import orjson
from sklearn.ensemble import IsolationForest

WINDOW, MOMENTUM, STEP, BATCH, FEATURES = 60, 10, 10_000_000, 1_000, 6
# Of a symbol: [last id, candle's start, open, high, low, close, volume, trades, rows kept, place in rings]
ID, START, OPEN, HIGH, LOW, CLOSE, VOLUME, TRADES, KEPT, PLACE = range(10)
# Rings: log return, volume, close. Sums and sums of squares of them beside.
RETURN, AMOUNT, PRICE = range(3)


@numba.njit(cache=True)
def features(state, rings, sums, at, out):
    """The six features of a symbol's current candle against the window before it."""
    s = state[at]
    place = int(s[PLACE])
    last = rings[at, PRICE, (place - 1) % WINDOW]
    log_return = np.log(s[CLOSE] / last)
    mean = sums[at, :, 0] / WINDOW
    spread = np.sqrt(np.maximum(sums[at, :, 1] / WINDOW - mean * mean, 1e-300))
    out[0] = (log_return - mean[RETURN]) / spread[RETURN]
    out[1] = (s[VOLUME] - mean[AMOUNT]) / spread[AMOUNT]
    out[2] = (s[HIGH] - s[LOW]) / s[OPEN]
    out[3] = (s[CLOSE] - mean[PRICE]) / spread[PRICE]
    out[4] = spread[RETURN]
    out[5] = s[CLOSE] / rings[at, PRICE, (place - MOMENTUM) % WINDOW] - 1.0


@numba.njit(cache=True)
def keep(state, rings, sums, at):
    """Takes the current candle into the window."""
    s = state[at]
    place = int(s[PLACE])
    last = rings[at, PRICE, (place - 1) % WINDOW]
    log_return = np.log(s[CLOSE] / last) if s[KEPT] > 0 else 0.0
    for ring, value in ((RETURN, log_return), (AMOUNT, s[VOLUME]), (PRICE, s[CLOSE])):
        old = rings[at, ring, place]
        rings[at, ring, place] = value
        sums[at, ring, 0] += value - old
        sums[at, ring, 1] += value * value - old * old
    s[PLACE] = (place + 1) % WINDOW
    s[KEPT] += 1


@numba.njit(cache=True)
def update(symbols, ids, prices, quantities, times, n, state, rings, sums, every, rows, of, opened):
    """Takes trades; rows that can be scored, their symbols and candles, into `rows`, `of` and `opened`."""
    found = 0
    for i in range(n):
        at = symbols[i]
        s = state[at]
        if ids[i] <= s[ID]:
            continue
        s[ID] = ids[i]
        start = times[i] - times[i] % STEP
        if start < s[START]:
            continue
        if start > s[START]:
            if s[TRADES] > 0:
                if s[KEPT] > WINDOW:
                    features(state, rings, sums, at, rows[found])
                    of[found] = at
                    opened[found] = s[START]
                    found += 1
                keep(state, rings, sums, at)
            s[START] = start
            s[OPEN] = s[HIGH] = s[LOW] = prices[i]
            s[VOLUME] = s[TRADES] = 0.0
        s[HIGH] = max(s[HIGH], prices[i])
        s[LOW] = min(s[LOW], prices[i])
        s[CLOSE] = prices[i]
        s[VOLUME] += quantities[i]
        s[TRADES] += 1
        if every and s[KEPT] > WINDOW:
            features(state, rings, sums, at, rows[found])
            of[found] = at
            opened[found] = -1
            found += 1
    return found


@numba.njit(cache=True, fastmath=True)
def score(rows, n, feature, threshold, child, depth, scale, out):
    n_trees = feature.shape[0]
    for i in range(n):
        total = 0.0
        for tree in range(n_trees):
            node = 0
            while feature[tree, node] >= 0:
                left = rows[i, feature[tree, node]] <= threshold[tree, node]
                node = child[tree, node] + (0 if left else 1)
            total += depth[tree, node]
        out[i] = 2.0 ** (-total / n_trees / scale)


def average_depth(n):
    n = np.asarray(n, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        usual = 2 * (np.log(n - 1) + np.euler_gamma) - 2 * (n - 1) / n
    return np.where(n > 2, usual, np.where(n == 2, 1.0, 0.0))


def flat(forest):
    """Trees as arrays, children side by side."""
    most = max(tree.tree_.node_count for tree in forest.estimators_)
    shape = (len(forest.estimators_), most)
    feature, child = np.full(shape, -1, np.int32), np.zeros(shape, np.int32)
    threshold, depth = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for number, estimator in enumerate(forest.estimators_):
        tree, free = estimator.tree_, 1
        todo = [(0, 0, 0.0)]
        while todo:
            node, place, deep = todo.pop()
            left = tree.children_left[node]
            if left < 0:
                depth[number, place] = deep + average_depth(tree.n_node_samples[node])
                continue
            feature[number, place] = tree.feature[node]
            threshold[number, place] = tree.threshold[node]
            child[number, place] = free
            todo.append((left, free, deep + 1))
            todo.append((tree.children_right[node], free + 1, deep + 1))
            free += 2
    return feature, threshold, child, depth, float(average_depth(256))


class Pipeline:
    def __init__(self, forest, every, batch):
        self.places, self.names, self.forest, self.every = {}, [], forest, every
        self.grow(64)
        rows = 2 * batch
        self.symbols, self.ids = np.zeros(batch, np.int64), np.zeros(batch, np.int64)
        self.times = np.zeros(batch, np.int64)
        self.prices, self.quantities = np.zeros(batch), np.zeros(batch)
        self.rows, self.scores = np.zeros((rows, FEATURES), np.float32), np.zeros(rows)
        self.of, self.opened = np.zeros(rows, np.int64), np.zeros(rows, np.int64)

    def grow(self, n):
        state, rings, sums = np.zeros((n, 10)), np.ones((n, 3, WINDOW)), np.zeros((n, 3, 2))
        rings[:, :AMOUNT + 1] = 0.0
        sums[:, PRICE] = WINDOW
        if self.names:
            old = len(self.state)
            state[:old], rings[:old], sums[:old] = self.state, self.rings, self.sums
        self.state, self.rings, self.sums = state, rings, sums

    def take(self, lines):
        """What the lines give: rows, scored where there is a forest."""
        places, loads = self.places, orjson.loads
        symbols, ids, prices = [], [], []
        quantities, times = [], []
        for line in lines:
            trade = loads(line)
            place = places.get(trade["symbol"])
            if place is None:
                place = places[trade["symbol"]] = len(self.names)
                self.names.append(trade["symbol"])
                if place >= len(self.state):
                    self.grow(2 * place)
            symbols.append(place)
            ids.append(trade["trade_id"])
            prices.append(trade["price"])
            quantities.append(trade["quantity"])
            times.append(trade["event_time"])
        n = len(symbols)
        self.symbols[:n], self.ids[:n], self.prices[:n] = symbols, ids, prices
        self.quantities[:n], self.times[:n] = quantities, times
        found = update(
            self.symbols, self.ids, self.prices, self.quantities, self.times, n, self.state,
            self.rings, self.sums, self.every, self.rows, self.of, self.opened,
        )
        if self.forest is None:
            return self.rows[:found].copy(), []
        score(self.rows, found, *self.forest, self.scores)
        said = []
        for i in np.flatnonzero(self.opened[:found] >= 0):
            said.append(orjson.dumps({
                "symbol": self.names[self.of[i]], "open_time": int(self.opened[i]),
                "features": self.rows[i].tolist(), "score": float(self.scores[i]),
                "flag": bool(self.scores[i] > 0.7),
            }))
        return found, said


def main():
    file, mode, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 3
    lines = Path(file).read_bytes().splitlines()
    batch = 1 if mode == "single" else BATCH
    fitting = Pipeline(None, False, BATCH)
    rows = [fitting.take(lines[i:i + BATCH])[0] for i in range(0, min(len(lines), 2_000_000), BATCH)]
    rows = np.concatenate(rows)
    forest = IsolationForest(n_estimators=100, max_samples=256, random_state=42).fit(rows)
    forest = flat(forest)
    for repeat in range(repeats + 1):
        # The first one compiles.
        these = lines if repeat else lines[:200_000]
        pipeline, n_scores, n_bytes = Pipeline(forest, mode != "closed", batch), 0, 0
        began = time.perf_counter()
        for i in range(0, len(these), batch):
            found, said = pipeline.take(these[i:i + batch])
            n_scores += found
            n_bytes += sum(map(len, said))
        seconds = time.perf_counter() - began
        if repeat:
            print(json.dumps({
                "mode": mode, "trades": len(these), "scores": n_scores, "bytes_out": n_bytes,
                "seconds": round(seconds, 3), "trades_per_second": round(len(these) / seconds),
            }), flush=True)


main()
