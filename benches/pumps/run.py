"""Real pump-and-dumps through `scorer replay`; see run.sh."""

import csv
import gzip
import json
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from pathlib import Path
from statistics import mean, median

SECOND, CANDLE, LATENESS, DAY = 1_000_000, 10_000_000, 5_000_000, 86_400_000_000
# Insiders begin a minute before the announcement; what comes within ten minutes of it belongs to the event.
BEFORE, AFTER = 60 * SECOND, 600 * SECOND
# What follows the pump within an hour is its aftermath: neither found nor false.
AFTERMATH = 3_600 * SECOND
TRAIN, VALIDATION = 0.24, 0.24

EXPERIMENT = f"""
[experiment]
name = "pumps"
[data]
source = "trades.csv.gz"
kind = "trades"
interval = "10s"
symbol = "SYMBOL"
events = "events.csv"
[features]
window = 360
max_gap = "6h"
macro_window = "3m"
use = ["return", "volume_zscore", "trade_count_zscore", "price_range", "momentum", "macro_max_range"]
[split]
method = "time"
train = {TRAIN}
validation = {VALIDATION}
[[candidates]]
detector = "DETECTOR"
[evaluate]
alerts_per_symbol_day = 1.0
resamples = 50
importance_rows = 0
[register]
model = "pumps"
"""
SCORER = """
[model]
uri = "models:/pumps/1"
[registry]
uri = "URI"
[stream]
score_on = "MODE"
every = "1s"
"""


def events_of(folder: Path) -> list[tuple[Path, str, int]]:
    """Files of trades, their symbols and the announcements, µs."""
    found = []
    listed = folder / "events.csv"
    if listed.exists():
        for row in csv.DictReader(listed.open()):
            found.append((folder / "trades" / f"{row['file']}.csv.gz", row["symbol"], int(row["pump_ms"]) * 1000))
    else:
        lines = (folder / "pumps-events.csv").read_text().splitlines()
        for row in csv.DictReader(line for line in lines if not line.startswith("#")):
            [file] = (folder / "pumps").glob(f"{row['symbol']}_*.csv.gz")
            begins = row["start"]
            start = int(begins) if begins.isdigit() else instant(begins)
            found.append((file, row["symbol"], start + BEFORE))
    return found


def instant(text: str) -> int:
    from datetime import datetime

    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * SECOND)


def times_of(file: Path) -> list[int]:
    with gzip.open(file, "rt") as lines:
        return sorted(int(row["timestamp"]) * 1000 for row in csv.DictReader(lines))


def done(*command, folder: Path) -> None:
    finished = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True)
    if finished.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {finished.stderr}")


def judge(alerts: list[dict], times: list[int], pump: int, is_early: bool) -> tuple[float | None, int, int, float]:
    """Seconds from the pump's first minute to the first alert, alerts within the event, false incidents, tested days."""
    tested = times[int(len(times) * (TRAIN + VALIDATION))]
    # By the time at which an alert was out: with the trade that closed the candle, or at the latest when it ended.
    last = times[-1]

    def out(alert: dict) -> int:
        end = alert["event_time"] + CANDLE
        if alert["early"]:
            return end
        place = bisect_left(times, end + LATENESS)
        return times[place] if place < len(times) else last

    start, end = pump - BEFORE, pump + AFTER
    inside = sorted(out(alert) for alert in alerts if start <= alert["event_time"] + CANDLE and alert["event_time"] < end)
    false = [
        alert for alert in alerts
        if alert["sequence"] == 1 and alert["event_time"] >= tested
        and not start - CANDLE <= alert["event_time"] < end + AFTERMATH
    ]
    days = (last - tested - (end + AFTERMATH - start)) / DAY
    return ((inside[0] - start) / SECOND if inside else None), len(inside), len(false), days


def main() -> None:
    trainer, registry, scorer, folder, detector = *sys.argv[1:4], Path(sys.argv[4]), sys.argv[5]
    modes = {"candle": [], "trade": []}
    print(f"{'':<26}{'closed candles':>34}{'open candles, every second':>34}")
    head = f"{'seconds':>12}{'alerts':>9}{'false/day':>13}"
    print(f"{'event':<26}{head}{head}", flush=True)
    for file, symbol, pump in events_of(folder):
        times = times_of(file)
        line = f"{file.name.removesuffix('.csv.gz'):<26}"
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            (work / "trades.csv.gz").write_bytes(file.read_bytes())
            (work / "events.csv").write_text(
                f"symbol,start,end,kind\n{symbol},{pump - BEFORE},{pump + AFTER},pump_and_dump\n"
            )
            text = EXPERIMENT.replace("SYMBOL", symbol).replace("DETECTOR", detector)
            (work / "x.toml").write_text(text)
            done(trainer, "run", "x.toml", "--quiet", folder=work)
            server = subprocess.Popen([registry, "serve", "--port", "0"], cwd=work, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL, text=True)
            uri = server.stdout.readline().strip().removeprefix("registry at ")
            for mode, results in modes.items():
                (work / "scorer.toml").write_text(SCORER.replace("URI", uri).replace("MODE", mode))
                done(
                    scorer, "replay", "trades.csv.gz", "--symbol", symbol, "--config", "scorer.toml", "--tracking-uri", uri,
                    "--alerts", "alerts.jsonl", "--quiet", folder=work,
                )
                alerts = [json.loads(row) for row in (work / "alerts.jsonl").read_text().splitlines()]
                delay, n_alerts, n_false, days = judge(alerts, times, pump, mode == "trade")
                results.append((delay, n_alerts, n_false, days))
                shown = "missed" if delay is None else f"{delay:.0f}"
                line += f"{shown:>12}{n_alerts:>9}{n_false / days:>13.2f}"
            server.terminate()
            server.wait()
        print(line, flush=True)
    for mode, results in modes.items():
        delays = [delay for delay, *_ in results if delay is not None]
        days = sum(days for *_, days in results)
        what = "closed candles" if mode == "candle" else "open candles, every second"
        print(
            f"{what}: {len(delays)} of {len(results)} found, {mean(n for _, n, *_ in results):.1f} alerts an event, median "
            f"{median(delays):.0f} s after the pump's first minute began, {sum(n for *_, n, _ in results) / days:.2f} false "
            f"alerts a symbol and day over {days:.0f} days"
        )


main()
