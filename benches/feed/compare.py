"""Times our feed and its peer; see run.sh."""

import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
SYMBOLS = "20"
RATE = "2000"


def timed(command: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of a command that must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def cpu_of(pid: int) -> float:
    """Processor seconds that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def java_of(parent: int) -> int:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(children[0])


class Bench:
    def __init__(self, feed: str, kafka: str, repeats: int) -> None:
        self.feed, self.repeats = feed, repeats
        self.server = subprocess.Popen([kafka], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.brokers = self.server.stdout.readline().strip()
        self.java = java_of(self.server.pid)
        self.n_topics = 0

    def stop(self) -> None:
        self.server.stdin.close()
        self.server.wait()

    def topic(self) -> str:
        """A prefix of its own for each run."""
        self.n_topics += 1
        return f"bench-{self.n_topics}."

    def simulate(self, n: int, *more: str) -> list[str]:
        return [self.feed, "simulate", "--symbols", SYMBOLS, "--rate", RATE, "--speed", "max",
                "--count", str(n), "--quiet", *more]

    def into_kafka(self, name: str, n: int, command) -> float:
        rates, shares = [], []
        for _ in range(self.repeats):
            prefix = self.topic()
            self.prepare(prefix)
            broker = cpu_of(self.java)
            wall, cpu = timed(command(prefix))
            rates.append(n / wall)
            shares.append((n / cpu, n / max(cpu_of(self.java) - broker, 1e-9)))
        rate = statistics.median(rates)
        sender, broker = (statistics.median(side) for side in zip(*shares))
        print(f"{name:<34} {rate:>12,.0f} {sender:>22,.0f} {broker:>22,.0f}", flush=True)
        return rate

    def prepare(self, prefix: str) -> None:
        """A first record makes the topic, and connects nobody who is timed."""
        timed(self.simulate(1, "--brokers", self.brokers, "--topic-prefix", prefix))


def main() -> None:
    feed, kafka, n, n_peer, repeats = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    bench = Bench(feed, kafka, repeats)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run(bench, Path(folder), n, n_peer)
    finally:
        bench.stop()


def run(bench: Bench, folder: Path, n: int, n_peer: int) -> None:
    print("trades/s; per core: trades per second of processor time", flush=True)
    print(f"{'':<34} {'wall':>12} {'sender, per core':>22} {'broker, per core':>22}")
    for name, more in (("made up, into nowhere", []), ("the same without anomalies", ["--anomalies", "0"])):
        runs = [timed(bench.simulate(n, "--null", *more)) for _ in range(bench.repeats)]
        wall = statistics.median(n / wall for wall, _ in runs)
        cpu = statistics.median(n / cpu for _, cpu in runs)
        print(f"{name:<34} {wall:>12,.0f} {cpu:>22,.0f} {'':>22}", flush=True)
    to_kafka = lambda prefix: ["--brokers", bench.brokers, "--topic-prefix", prefix]
    bench.into_kafka("feed simulate", n, lambda prefix: bench.simulate(n, *to_kafka(prefix)))

    lines = folder / "trades.jsonl"
    timed(bench.simulate(n, "--anomalies", "0", "--out", str(lines)))
    table = folder / "trades.csv"
    with lines.open() as source, table.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["symbol", "event_time", "trade_id", "price", "quantity", "side"])
        for line in source:
            trade = json.loads(line)
            writer.writerow([trade["symbol"], trade["event_time"], trade["trade_id"],
                             repr(trade["price"]), repr(trade["quantity"]), trade["side"]])
    lines.unlink()
    few = folder / "few.csv"
    with table.open() as source, few.open("w") as target:
        for _, line in zip(range(n_peer + 1), source):
            target.write(line)
    out = folder / "history"
    timed([bench.feed, "history", str(table), "--out", str(out), "--quiet"])

    def replay(path: Path):
        return lambda prefix: [bench.feed, "replay", str(path), "--speed", "max", "--quiet", *to_kafka(prefix)]

    bench.into_kafka("feed replay, CSV", n, replay(table))
    bench.into_kafka("feed replay, Parquet", n, replay(out))
    ours = bench.into_kafka(f"feed replay, CSV, {n_peer:,} trades", n_peer, replay(few))
    peer = bench.into_kafka(
        f"confluent-kafka + orjson, {n_peer:,}", n_peer,
        lambda prefix: [sys.executable, str(HERE / "peer.py"), str(few), bench.brokers,
                        f"{prefix}raw-trades", str(n_peer)],
    )
    print(f"feed replay is {ours / peer:.1f} times as quick as the peer on the same file and broker")


main()
