"""Runs an experiment in a folder of its own and prints how long its trials took. Started by run.sh.

Usage: time_trials.py TRAINER EXPERIMENT [ARGUMENTS OF `trainer run`]
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path


def main() -> None:
    trainer, experiment, *more = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        command = [trainer, "run", experiment, "--output", "json", *more]
        started = time.monotonic()
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
        seconds = time.monotonic() - started
        if done.returncode != 0:
            sys.exit(done.stdout)
        [evaluation] = Path(folder).glob("foreshock/artifacts/**/evaluation.json")
        trials = json.loads(evaluation.read_text())["trials"]
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    of_candidate = defaultdict(list)
    for trial in trials:
        of_candidate[trial["candidate"]].append(trial["seconds"])
    print(f"{'':<14} {'trials':>6} {'seconds of each':<40} {'in all':>7}")
    for candidate, spent in of_candidate.items():
        each = ", ".join(f"{value:.1f}" for value in sorted(spent))
        print(f"{candidate:<14} {len(spent):>6} {each:<40} {sum(spent):>7.1f}")
    summary = json.loads(done.stdout)
    for failed in summary["failed"]:
        print(failed)
    print(f"\n{'':<14} {'average precision':<28} ROC-AUC")
    for leader in summary["leaderboard"]:
        low, high = leader["average_precision_interval"]
        precision = f"{leader['average_precision']:.3f} [{low:.3f}, {high:.3f}]"
        print(f"{leader['candidate']:<14} {precision:<28} {leader['roc_auc']:.3f}")
    print(
        f"\n{seconds:.0f} s in all; {usage.ru_utime + usage.ru_stime:.0f} s of processor time, "
        f"{usage.ru_maxrss / 1024:.0f} MiB at most"
    )


if __name__ == "__main__":
    main()
