"""How the time to fit and to score grows, as a Markdown table and a picture; run by run.sh.

Usage: plot.py BENCH_PROGRAM WORK_FOLDER N_ROWS N_RUNS PICTURE
"""

import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, StrMethodFormatter
from peers import (
    CONIFEREST,
    N_COLUMNS,
    N_SINGLE,
    N_THREADS,
    SCIKIT_LEARN,
    PeerTimes,
    Sizes,
    Table,
    our_times,
    print_markdown,
    three_digits,
    write_table,
)

# Rows of the tables along the other axes.
N_ROWS = 65_536
STYLES = {"ours": "o-", "scikit-learn": "s--", "coniferest": "^:"}


@dataclass(frozen=True)
class Point:
    """What is fitted and scored. The forest is fitted on at least as many rows as a tree takes."""

    n_rows: int = N_ROWS
    n_columns: int = N_COLUMNS
    n_trees: int = 100
    sample_size: int = 256

    @property
    def n_fit_rows(self) -> int:
        return max(self.n_rows, self.sample_size)


def axes(n_rows: int) -> dict[str, dict[int, Point]]:
    """The points along each axis, by the value there."""
    rows = [count for count in (1, 16, 256, 4096, 65_536) if count < n_rows] + [n_rows]
    return {
        "rows": {value: Point(n_rows=value) for value in rows},
        "columns": {value: Point(n_columns=value) for value in (10, 50, 200)},
        "trees": {value: Point(n_trees=value) for value in (50, 100, 200, 500, 1000)},
        "rows per tree": {value: Point(sample_size=value) for value in (64, 256, 1024, 4096)},
    }


# Milliseconds to fit and nanoseconds to score a row, one value per run.
Times = dict[str, list[float]]


def measure(bench: str, path: Path, table: Table, point: Point) -> dict[str, dict[str, float]]:
    """One value of each contender's times at a point."""
    arguments = ["--data", str(path), "--rows", str(point.n_fit_rows)]
    arguments += ["--score-rows", str(point.n_rows), "--columns", str(point.n_columns)]
    arguments += ["--n-trees", str(point.n_trees), "--sample-size", str(point.sample_size)]
    arguments += ["--threads", str(N_THREADS), "--runs", "1", "--form", "classic"]
    ours = {
        measurement["name"]: measurement["values"][0] for measurement in our_times(bench, arguments)
    }
    times = {"ours": {"fit": ours["fit"], "score": ours["score_one_thread"]}}
    for peer in (SCIKIT_LEARN, CONIFEREST):
        sizes = Sizes(point.n_trees, point.sample_size)
        peer_times = PeerTimes(peer, table[: point.n_fit_rows], sizes)
        n_calls = max(1, N_SINGLE // point.n_rows)
        score = peer_times.seconds_to_score(peer_times.one_thread, point.n_rows, n_calls)
        times[peer.name] = {
            "fit": peer_times.seconds_to_fit(1) * 1e3,
            "score": score * (1e9 / point.n_rows),
        }
    return times


def draw(medians: dict[str, dict[int, dict[str, dict[str, float]]]], picture: Path) -> None:
    figure, panels = plt.subplots(2, 2, figsize=(8, 6.4), layout="constrained")
    for panel, (axis, values) in zip(panels.flat, medians.items(), strict=True):
        for contender, style in STYLES.items():
            scores = [times[contender]["score"] / 1e3 for times in values.values()]
            panel.plot(list(values), scores, style, label=contender, markersize=5)
        panel.set(xscale="log", yscale="log", xlabel=axis, ylabel="time to score a row, µs")
        panel.minorticks_off()
        if axis != "rows":
            panel.set_xticks(list(values), [f"{value:,}" for value in values])
        # Decades suffice where there are many of them.
        low, high = panel.get_ylim()
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        panel.grid(alpha=0.3)
    panels[0, 0].legend()
    point = Point()
    figure.suptitle(
        "Scoring on one thread; where the axis doesn't say otherwise,\n"
        f"{point.n_rows:,} rows of {point.n_columns} columns by {point.n_trees} trees of {point.sample_size} rows",
        fontsize=11,
    )
    picture.parent.mkdir(exist_ok=True)
    figure.savefig(picture, dpi=150)


def main() -> None:
    bench, work, n_rows, n_runs = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    points = axes(n_rows)
    tables: dict[int, tuple[Path, Table]] = {}
    for n_columns in {point.n_columns for values in points.values() for point in values.values()}:
        path = work / f"table-{n_columns}.f64"
        n_table_rows = max(n_rows, N_ROWS) if n_columns == N_COLUMNS else N_ROWS
        tables[n_columns] = (path, write_table(path, n_table_rows, n_columns))

    # The same point lies on several axes, and is measured once a run.
    times: dict[Point, dict[str, Times]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for run in range(n_runs):
        print(f"\rrun {run + 1} of {n_runs} ", end="", file=sys.stderr, flush=True)
        for point in dict.fromkeys(
            point for values in points.values() for point in values.values()
        ):
            measured = measure(bench, *tables[point.n_columns], point)
            for contender, named in measured.items():
                for name, time in named.items():
                    times[point][contender][name].append(time)
    print(file=sys.stderr)

    medians = {
        axis: {
            value: {
                contender: {name: statistics.median(runs) for name, runs in run_times.items()}
                for contender, run_times in times[point].items()
            }
            for value, point in values.items()
        }
        for axis, values in points.items()
    }
    print(f"medians of {n_runs} runs; fitted and scored on one thread\n")
    rows = [
        [
            "",
            *(f"{name}: fit, ms" for name in STYLES),
            *(f"{name}: score, ns/row" for name in STYLES),
        ]
    ]
    for axis, values in medians.items():
        for value, contenders in values.items():
            cells = [three_digits(contenders[name]["fit"]) for name in STYLES]
            cells += [three_digits(contenders[name]["score"]) for name in STYLES]
            rows.append([f"{axis}: {value:,}", *cells])
    print_markdown(rows)
    draw(medians, Path(sys.argv[5]))
    print(f"\ndrawn: {sys.argv[5]}")


if __name__ == "__main__":
    main()
