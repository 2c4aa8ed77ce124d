"""Runs one experiment for each kind and magnitude of injected anomaly; prints Markdown. Started by run.sh.

Usage: table.py TRAINER CANDLES [OPTIONS]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

KINDS = [
    "price_spike",
    "volume_spike",
    "flash_crash",
    "pump_and_dump",
    "wash_trading",
    "liquidity_gap",
]

# The settings are the detectors' own, so that nothing was chosen by these tables.
EXPERIMENT = """
[experiment]
name = "injected"
seed = {seed}
{data}
[features]
use = ["log_return_zscore", "volume_zscore", "price_range", "price_zscore", "volatility", "momentum"]
[inject]
kinds = ["{kind}"]
events_per_symbol_day = 4.0
magnitude = [{magnitude}, {above}]
[[candidates]]
name = "forest"
detector = "isolation_forest"
[[candidates]]
name = "fair-cut forest"
detector = "isolation_forest"
form = "fair_cut"
[[candidates]]
name = "ECOD"
detector = "ecod"
[[candidates]]
name = "kNN"
detector = "knn"
max_rows = 10000
[[candidates]]
name = "DBSCAN"
detector = "dbscan"
max_rows = 10000
[[candidates]]
name = "Mahalanobis"
detector = "mahalanobis"
[[candidates]]
name = "autoencoder"
detector = "autoencoder"
max_epochs = 30
[[candidates]]
name = "consensus"
detector = "consensus"
[evaluate]
alerts_per_symbol_day = 1.0
resamples = 200
importance_rows = 0
"""

SIMULATED = """
[simulate]
days = {days}
trades_per_second = 0.5
[data]
kind = "candles"
interval = "1m"
symbols = [{symbols}]
"""

REAL = """
[data]
source = {source}
kind = "candles"
interval = "1m"
symbols = ["BTCUSD"]
from = 2018-01-01T00:00:00Z
to = 2018-03-01T00:00:00Z
"""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/injected/run.sh")
    parser.add_argument("trainer")
    parser.add_argument("candles")
    parser.add_argument("--real", action="store_true", help="real minute candles")
    parser.add_argument("--days", type=int, default=40, help="of the simulated market (40)")
    parser.add_argument("--symbols", type=int, default=3, help="of the simulated market (3)")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--magnitudes", default="3,10,30,100")
    parser.add_argument("--kinds", default=",".join(KINDS))
    return parser.parse_args()


def data(given: argparse.Namespace) -> str:
    if given.real:
        return REAL.format(source=json.dumps(given.candles))
    symbols = ", ".join(f'"S{number:02}USD"' for number in range(given.symbols))
    return SIMULATED.format(days=given.days, symbols=symbols)


def run(given: argparse.Namespace, kind: str, magnitude: float, folder: Path) -> list[dict]:
    """The leaderboard of one experiment."""
    text = EXPERIMENT.format(
        seed=given.seed, data=data(given), kind=kind, magnitude=magnitude, above=magnitude * 1.2
    )
    (folder / "x.toml").write_text(text)
    command = [given.trainer, "run", "x.toml", "--output", "json", "--quiet"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{kind} {magnitude}: {done.stderr}")
    return json.loads(done.stdout)["leaderboard"]


def cell(leader: dict, key: str) -> str:
    value, interval = leader[key], leader.get(f"{key}_interval")
    if not isinstance(value, float | int):
        return "–"
    shown = f"{value:.2f}"
    return shown if interval is None else f"{shown} [{interval[0]:.2f}, {interval[1]:.2f}]"


def main() -> None:
    given = options()
    kinds = given.kinds.split(",")
    magnitudes = [float(text) for text in given.magnitudes.split(",")]
    for kind in kinds:
        if kind not in KINDS:
            sys.exit(f"`{kind}` is no kind; there are: {', '.join(KINDS)}")
    found: dict[tuple[str, float], dict[str, dict]] = {}
    for kind in kinds:
        for magnitude in magnitudes:
            with tempfile.TemporaryDirectory() as folder:
                leaders = run(given, kind, magnitude, Path(folder))
            found[kind, magnitude] = {leader["candidate"]: leader for leader in leaders}
            print(f"{kind} {magnitude:g}: done", file=sys.stderr, flush=True)
    names = sorted({name for leaders in found.values() for name in leaders})
    where = "real minute candles" if given.real else f"{given.symbols} symbols, {given.days} days"
    print(f"{where}, seed {given.seed}; 4 events a symbol and day, threshold for one alert a symbol and day")
    for title, key in (
        ("Average precision", "average_precision"),
        ("Share of events caught at the threshold", "event_recall"),
    ):
        print(f"\n{title} [95 %], by kind and magnitude\n")
        print("| | " + " | ".join(name.replace("|", "\\|") for name in names) + " |")
        print("|---" * (len(names) + 1) + "|")
        for (kind, magnitude), leaders in found.items():
            cells = [cell(leaders[name], key) if name in leaders else "failed" for name in names]
            print(f"| {kind} {magnitude:g} | " + " | ".join(cells) + " |")
    alerts = {
        name: [
            leaders[name]["false_alerts_per_symbol_day"]
            for leaders in found.values()
            if name in leaders and isinstance(leaders[name]["false_alerts_per_symbol_day"], float)
        ]
        for name in names
    }
    print("\nfalse alerts a symbol and day, mean over all rows above:")
    for name, values in alerts.items():
        print(f"- {name}: {sum(values) / max(len(values), 1):.2f}")


if __name__ == "__main__":
    main()
