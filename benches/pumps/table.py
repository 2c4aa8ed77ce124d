"""experiments/pumps.toml on the last hours before announced pumps; see table.sh."""

import csv
import gzip
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

MINUTE = 60_000
AFTER = 5 * MINUTE
TESTED = 360 * MINUTE + AFTER
KNOWN = 1_060 * MINUTE
EXPERIMENT = Path(__file__).parents[2] / "experiments" / "pumps.toml"


def cut(source: Path, target: Path, start: int, end: int) -> None:
    """The trades from `start` to `end`, ms; the last one before counts as made at `start`."""
    with gzip.open(source, "rt") as lines, gzip.open(target, "wt") as out:
        out.write(next(lines))
        before = None
        for line in lines:
            at = int(line.split(",", 1)[0])
            if at > end:
                break
            if at < start:
                before = line
                continue
            if before is not None:
                out.write(f"{start},{before.split(',', 1)[1]}")
                before = None
            out.write(line)


def main() -> None:
    trainer, folder = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "data" / "pumps").mkdir(parents=True)
        events = ["symbol,start,end,kind,rise_pct"]
        for at, event in enumerate(csv.DictReader((folder / "events.csv").open())):
            if float(event["rise_pct"]) < 10:
                continue
            pump = int(event["pump_ms"])
            # A symbol may have been pumped twice.
            symbol = f"{event['symbol']}{at}"
            end = pump + AFTER
            target = work / "data" / "pumps" / f"{symbol}_.csv.gz"
            cut(folder / "trades" / f"{event['file']}.csv.gz", target, end - TESTED - KNOWN, end)
            start, end = (datetime.fromtimestamp(ms / 1_000, UTC).isoformat() for ms in (pump - MINUTE, end))
            events.append(f"{symbol},{start},{end},pump,{event['rise_pct']}")
        (work / "data" / "pumps-events.csv").write_text("\n".join(events) + "\n")
        half = f"{KNOWN / 2 / (KNOWN + TESTED):.4f}"
        experiment = EXPERIMENT.read_text()
        for key in ("train", "validation"):
            [old] = [line for line in experiment.splitlines() if line.startswith(f"{key} = ")]
            experiment = experiment.replace(old, f"{key} = {half}")
        experiment = experiment[: experiment.index("[register]")]
        (work / "pumps.toml").write_text(experiment)
        subprocess.run([trainer, "run", "pumps.toml"], cwd=work, check=True)


main()
