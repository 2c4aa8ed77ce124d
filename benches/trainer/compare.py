"""Times `trainer run` and the same job in pandas and scikit-learn, in turns, on one table.

compare.py TRAINER EXPERIMENT TABLE WORK_DIR N_RESAMPLES N_RUNS N_PEER_RUNS

Prints medians of wall and processor time, the largest peak memory of one process, seconds by phase,
and the metrics of both.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
METRICS = [
    "roc_auc",
    "average_precision",
    "precision",
    "recall",
    "f1",
    "event_recall",
    "false_alerts_per_symbol_day",
]
PHASE = re.compile(r"^  (\w+) +.*\(([0-9.]+) s\)$")


def timed(command, cwd):
    """Runs `command`: (seconds, processor seconds, peak RSS in MiB of its largest process), stdout, stderr."""
    with open(cwd / "stdout", "w+") as out, open(cwd / "stderr", "w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read(), err.read()
    if process.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{stderr}")
    cost = (seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
    return cost, stdout, stderr


def run_ours(trainer, experiment, table, work, n_resamples):
    # A registry and a stage of its own, as a first run has.
    shutil.rmtree(work / "foreshock", ignore_errors=True)
    command = [trainer, "run", experiment, "--data", table, "--output", "json"]
    command += ["--set", f"evaluate.resamples={n_resamples}"]
    command += ["--tracking-uri", "sqlite:///foreshock/registry.db"]
    cost, stdout, stderr = timed(command, work)
    found = json.loads(stdout)["metrics"]
    metrics = {
        name: {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
        for name, prefix in [("iforest", "test_"), ("largest |z|", "baseline_test_")]
    }
    phases = {match[1]: float(match[2]) for match in map(PHASE.match, stderr.splitlines()) if match}
    return cost, phases, metrics


def run_peer(table, work, n_resamples):
    command = [sys.executable, str(HERE / "peer.py"), table, str(n_resamples), "peer.joblib"]
    cost, stdout, _ = timed(command, work)
    found = json.loads(stdout)
    return cost, found["seconds"], found["metrics"]


def show(name, runs):
    """Prints the cost of `runs`; medians of wall and processor time."""
    walls, processors, peaks = zip(*(run[0] for run in runs))
    wall, processor = statistics.median(walls), statistics.median(processors)
    phases = {phase: statistics.median(run[1][phase] for run in runs) for phase in runs[0][1]}
    print(
        f"{name:24} {wall:8.2f} s ({', '.join(f'{wall:.2f}' for wall in walls)})"
        f"   processors {processor:.2f} s   peak {max(peaks):.0f} MiB"
    )
    print(f"{'':24} " + ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in phases.items()))
    return wall, processor


def main():
    trainer, experiment, table, work = sys.argv[1:5]
    n_resamples, n_runs, n_peer_runs = map(int, sys.argv[5:8])
    work = Path(work)
    with open(table, "rb") as file:  # Both find the table in the page cache.
        while file.read(1 << 24):
            pass
    ours, peers = [], []
    for number in range(max(n_runs, n_peer_runs)):
        if number < n_runs:
            ours.append(run_ours(trainer, experiment, table, work, n_resamples))
        if number < n_peer_runs:
            peers.append(run_peer(table, work, n_resamples))
    print(f"intervals from {n_resamples} resamples" if n_resamples else "without intervals")
    ours_cost = show("trainer run", ours)
    peers_cost = show("pandas + scikit-learn", peers)
    wall, processor = (peer / our for peer, our in zip(peers_cost, ours_cost))
    print(f"{'ratio of medians':24} {wall:8.1f}   (of processor time {processor:.1f})")
    print()
    print(f"{'on test rows':45} {'trainer':>26} {'scikit-learn':>26}")
    for detector in ["iforest", "largest |z|"]:
        for metric in METRICS:
            cells = []
            for run in (ours[-1], peers[-1]):
                found = run[2][detector]
                cell = f"{found[metric]:.4g}" if found.get(metric) is not None else "undefined"
                if f"{metric}.low" in found:
                    cell += f" [{found[f'{metric}.low']:.4g}, {found[f'{metric}.high']:.4g}]"
                cells.append(cell)
            print(f"{detector:12} {metric:32} {cells[0]:>26} {cells[1]:>26}")
    print(flush=True)


if __name__ == "__main__":
    main()
