"""The same trades -> candles -> features in pandas and in Polars, as one would write them, each on one thread.

Usage: peers.py TRADES_FILE N_REPEATS OURS.txt; see run.sh. Reads the trades into memory, times the work, checks that
every feature's mean agrees with ours, and prints one line per contender.
"""

import statistics
import sys
import time

import numpy as np
import pandas as pd
import polars as pl

W, K, M, D = 60, 10, 360, 8640
INTERVAL_US = 10_000_000


def read(path, n):
    with open(path, "rb") as file:
        event_time = np.fromfile(file, "<i8", n)
        price = np.fromfile(file, "<f8", n)
        quantity = np.fromfile(file, "<f8", n)
        is_buy = np.fromfile(file, "u1", n).astype(bool)
    return event_time, price, quantity, is_buy


def with_pandas(trades):
    event_time, price, quantity, is_buy = trades
    frame = pd.DataFrame(
        {
            "price": price,
            "volume": quantity,
            "quote_volume": price * quantity,
            "buy_volume": np.where(is_buy, quantity, 0.0),
        },
        index=pd.DatetimeIndex(event_time.view("datetime64[us]")),
    )
    groups = frame.resample("10s")
    candles = groups["price"].ohlc()
    sums = groups[["volume", "quote_volume", "buy_volume"]].sum()
    candles = candles.join(sums)
    candles["trade_count"] = groups["price"].count()
    candles["close"] = candles["close"].ffill()
    for name in ("open", "high", "low"):
        candles[name] = candles[name].fillna(candles["close"])
    close, volume = candles["close"], candles["volume"]
    out = pd.DataFrame(index=candles.index)
    out["return"] = close / close.shift() - 1
    out["log_return"] = np.log(close / close.shift())
    out["price_range"] = (candles["high"] - candles["low"]) / candles["low"]

    def zscore(series):
        before = series.shift().rolling(W)
        return (series - before.mean()) / before.std()

    out["price_zscore"] = zscore(close)
    out["log_return_zscore"] = zscore(out["log_return"])
    out["volume_zscore"] = zscore(volume)
    out["trade_count_zscore"] = zscore(candles["trade_count"].astype(float))
    out["price_std"] = close.rolling(W).std() / close.rolling(W).mean()
    out["volume_std"] = volume.rolling(W).std() / volume.rolling(W).mean()
    out["volatility"] = out["log_return"].rolling(W).std()
    vwap = candles["quote_volume"].shift().rolling(W).sum() / volume.shift().rolling(W).sum()
    out["vwap_deviation"] = close / vwap - 1
    out["volume_imbalance"] = ((2 * candles["buy_volume"] - volume) / volume).fillna(0.0)
    out["momentum"] = close / close.shift(K) - 1
    out["macro_return_std"] = out["return"].rolling(M).std()
    out["macro_max_range"] = out["price_range"].rolling(M).max()
    out["macro_avg_volume"] = volume.rolling(M).mean() / volume.rolling(D).mean()
    return len(out), lambda: out.dropna().mean().to_dict()


def with_polars(trades):
    event_time, price, quantity, is_buy = trades
    frame = pl.DataFrame({"time": event_time, "price": price, "quantity": quantity, "is_buy": is_buy})
    price, quantity = pl.col("price"), pl.col("quantity")
    candles = (
        frame.lazy()
        .with_columns(pl.from_epoch("time", time_unit="us"))
        .set_sorted("time")
        .group_by_dynamic("time", every="10s")
        .agg(
            high=price.max(),
            low=price.min(),
            close=price.last(),
            volume=quantity.sum(),
            quote_volume=(price * quantity).sum(),
            buy_volume=quantity.filter(pl.col("is_buy")).sum(),
            trade_count=pl.len().cast(pl.Float64),
        )
        .collect()
        .upsample("time", every="10s")
    )
    sums = ["volume", "quote_volume", "buy_volume", "trade_count"]
    close, volume = pl.col("close"), pl.col("volume")
    ratio = close / close.shift()

    def zscore(column):
        before = column.shift()
        return (column - before.rolling_mean(W)) / before.rolling_std(W)

    out = (
        candles.lazy()
        .with_columns(pl.col(sums).fill_null(0.0), close.forward_fill())
        .with_columns(pl.col("high", "low").fill_null(close))
        .with_columns(
            (ratio - 1).alias("return"),
            ratio.log().alias("log_return"),
            ((pl.col("high") - pl.col("low")) / pl.col("low")).alias("price_range"),
        )
        .with_columns(
            zscore(close).alias("price_zscore"),
            zscore(pl.col("log_return")).alias("log_return_zscore"),
            zscore(volume).alias("volume_zscore"),
            zscore(pl.col("trade_count")).alias("trade_count_zscore"),
            (close.rolling_std(W) / close.rolling_mean(W)).alias("price_std"),
            (volume.rolling_std(W) / volume.rolling_mean(W)).alias("volume_std"),
            pl.col("log_return").rolling_std(W).alias("volatility"),
            (
                close / (pl.col("quote_volume").shift().rolling_sum(W) / volume.shift().rolling_sum(W)) - 1
            ).alias("vwap_deviation"),
            pl.when(volume > 0).then((2 * pl.col("buy_volume") - volume) / volume).otherwise(0.0)
            .alias("volume_imbalance"),
            (close / close.shift(K) - 1).alias("momentum"),
            pl.col("return").rolling_std(M).alias("macro_return_std"),
            pl.col("price_range").rolling_max(M).alias("macro_max_range"),
            (volume.rolling_mean(M) / volume.rolling_mean(D)).alias("macro_avg_volume"),
        )
        .collect()
    )
    names = [name for name in out.columns if name not in {"time", "high", "low", "close", *sums}]
    return len(out), lambda: out.select(names).drop_nulls().mean().to_dicts()[0]


def main():
    path, n_repeats, ours_path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with open(ours_path) as file:
        ours = dict(line.split() for line in file)
    n = int(ours["trades"])
    trades = read(path, n)
    results = {"foreshock": float(ours["seconds"])}
    for name, work in (("polars", with_polars), ("pandas", with_pandas)):
        seconds = []
        for _ in range(n_repeats):
            start = time.perf_counter()
            n_candles, means = work(trades)
            seconds.append(time.perf_counter() - start)
        results[name] = statistics.median(seconds)
        if n_candles != int(ours["candles"]):
            sys.exit(f"{name} made {n_candles} candles, not {ours['candles']}")
        for feature, mean in means().items():
            expected = float(ours[f"mean.{feature}"])
            # Means of signed features are near zero: compare with a floor. pandas' running sums drift in the last digits.
            if not abs(mean - expected) <= 1e-6 * abs(expected) + 1e-9:
                sys.exit(f"{name}: the mean of {feature} is {mean}, not {expected}")
    print(f"{n:,} trades -> {int(ours['candles']):,} candles -> 16 features, one thread, median of {n_repeats} runs")
    print(f"{'':12}{'seconds':>10}{'trades/s':>14}{'foreshock is':>16}")
    for name, seconds in results.items():
        ratio = "" if name == "foreshock" else f"{seconds / results['foreshock']:.1f}x faster"
        print(f"{name:12}{seconds:>10.3f}{n / seconds:>14,.0f}{ratio:>16}")
    print(f"polars {pl.__version__}, pandas {pd.__version__}, numpy {np.__version__}")


if __name__ == "__main__":
    main()
