"""Makes the table that the trainer and its peer are timed on: generate.py FILE N_ROWS.

N_ROWS rows of 20 symbols, one a minute and symbol, in the order of time: `time`, `symbol`, twelve
float64 features `f00`…`f11` (a common factor, volatility that clusters, Student-t noise: correlated
and heavy-tailed), and `label`, 1 on about 0.1 % of the rows, in runs of 3 to 8 minutes of one symbol
in which some features are shifted. The seed is fixed: the same table every time.
"""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

N_SYMBOLS = 20
N_FEATURES = 12
MINUTES_PER_GROUP = 6_554  # row groups of 131,080 rows, 12 MiB of features
START = np.datetime64("2023-01-01T00:00:00", "us")


def labels_and_shifts(random, n_minutes):
    """Labels (n_minutes, N_SYMBOLS) and, where labelled, how far which features are shifted."""
    label = np.zeros((n_minutes, N_SYMBOLS), np.int8)
    shift = {}
    n_runs = max(1, round(n_minutes * N_SYMBOLS * 0.001 / 5.5))
    for _ in range(n_runs):
        symbol = random.integers(N_SYMBOLS)
        length = random.integers(3, 9)
        start = random.integers(max(1, n_minutes - length))
        touched = random.choice(N_FEATURES, random.integers(1, 5), replace=False)
        size = random.uniform(2.0, 12.0) * random.choice([-1.0, 1.0], len(touched))
        for minute in range(start, min(start + length, n_minutes)):
            label[minute, symbol] = 1
            shift[minute, symbol] = (touched, size)
    return label, shift


def main():
    path, n_rows = sys.argv[1], int(sys.argv[2])
    n_minutes = n_rows // N_SYMBOLS
    if n_minutes * N_SYMBOLS != n_rows or n_minutes < 1_000:
        sys.exit(f"N_ROWS is `{n_rows}`, but must be a multiple of {N_SYMBOLS}, at least 20000")
    random = np.random.default_rng(20_260)
    label, shift = labels_and_shifts(random, n_minutes)
    by_minute = {}
    for (minute, symbol), change in shift.items():
        by_minute.setdefault(minute // MINUTES_PER_GROUP, []).append((minute, symbol, change))
    mixing = random.normal(0.0, 0.5, (N_FEATURES, N_FEATURES)) + np.eye(N_FEATURES)
    names = pa.array([f"SYM{symbol:02}USD" for symbol in range(N_SYMBOLS)])
    features = [f"f{feature:02}" for feature in range(N_FEATURES)]
    schema = pa.schema(
        [("time", pa.timestamp("us", tz="UTC")), ("symbol", pa.string())]
        + [(name, pa.float64()) for name in features]
        + [("label", pa.int8())]
    )
    log_volatility = np.zeros(N_SYMBOLS)
    with pq.ParquetWriter(path, schema, compression="snappy", use_dictionary=["symbol"]) as writer:
        for group, first in enumerate(range(0, n_minutes, MINUTES_PER_GROUP)):
            n = min(MINUTES_PER_GROUP, n_minutes - first)
            volatility = np.empty((n, N_SYMBOLS))
            shocks = random.normal(0.0, 0.05, (n, N_SYMBOLS))
            for minute in range(n):
                log_volatility = 0.98 * log_volatility + shocks[minute]
                volatility[minute] = log_volatility
            noise = random.standard_t(4.0, (n, N_SYMBOLS, N_FEATURES))
            common = random.standard_t(5.0, (n, 1, 1))
            values = (noise @ mixing + 0.7 * common) * np.exp(volatility)[:, :, None]
            for minute, symbol, (touched, size) in by_minute.get(group, []):
                values[minute - first, symbol, touched] += size
            values = values.reshape(n * N_SYMBOLS, N_FEATURES)
            minutes = np.arange(first, first + n).repeat(N_SYMBOLS).astype("timedelta64[m]")
            columns = [
                pa.array(START + minutes.astype("timedelta64[us]")).cast(schema.field("time").type),
                names.take(pa.array(np.tile(np.arange(N_SYMBOLS), n))),
                *(pa.array(np.ascontiguousarray(column)) for column in values.T),
                pa.array(label[first : first + n].reshape(-1)),
            ]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=n * N_SYMBOLS)


if __name__ == "__main__":
    main()
