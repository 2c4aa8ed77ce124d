"""Times the scorer's core beside its peer, then the scorer itself between two topics; see run.sh."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import orjson
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

HERE = Path(__file__).parent
LATENESS, CANDLE = 5_000_000, 10_000_000
# What the market that is made up trades in its first minutes (a Monday, midnight), as a share of its mean over the week.
HOUR = 0.734


def printed(command: list) -> list[dict]:
    text = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return [json.loads(line) for line in text.splitlines()]


def median(runs: list[dict], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def core(throughput: str, trades: Path, few: Path, repeats: int) -> None:
    print("one core, JSON trade in, score out, 100 trees of 256 rows: trades/s, medians")
    for mode, what, ours_on, theirs_on in (
        ("closed", "closed candles of 10 s scored", trades, trades),
        ("every", "every trade scored, batches of 1,000", trades, trades),
        ("single", "every trade scored, one by one", few, few),
    ):
        ours = printed([throughput, ours_on, mode, repeats])
        theirs = printed([sys.executable, HERE / "peer.py", theirs_on, mode, repeats])
        rate, peer = median(ours, "trades_per_second"), median(theirs, "trades_per_second")
        print(f"  {what:<40} {rate:>12,.0f}   Python {peer:>10,.0f}   {rate / peer:5.1f} x", flush=True)
    [state] = printed([throughput, "state", 10_000])
    print(
        f"10,000 symbols: {state['memory_a_symbol']:,} bytes of memory and {state['snapshot_a_symbol']:,} of a "
        f"snapshot each; snapshot in {state['snapshot_seconds']:.2f} s, restored in {state['restore_seconds']:.2f} s"
    )


class Scorer:
    """`scorer run` on topics of its own; killed at the end."""

    def __init__(self, scorer: str, folder: Path, brokers: str, prefix: str, interval: str) -> None:
        config = folder / f"{prefix}toml"
        config.write_text(
            f'[model]\nuri = "model.foreshock"\n[kafka]\nbrokers = "{brokers}"\ninstance = "bench"\n'
            f'topic_prefix = "{prefix}"\ngroup = "{prefix}scorer"\ntransaction_interval = "{interval}"\n'
            f'[state]\nlocation = "{prefix}state"\n[api]\nlisten = "127.0.0.1:8871"\n'
        )
        self.log = open(folder / f"{prefix}log", "w")
        self.process = subprocess.Popen([scorer, "run", config], cwd=folder, stderr=self.log, stdout=self.log)

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()

    def metrics(self) -> str:
        try:
            return urllib.request.urlopen("http://127.0.0.1:8871/metrics", timeout=5).read().decode()
        except OSError:
            return ""

    def taken(self) -> int:
        lines = [line for line in self.metrics().splitlines() if line.startswith("scorer_events_total")]
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines)

    def lag(self) -> float:
        lines = [line for line in self.metrics().splitlines() if line.startswith("scorer_lag_seconds")]
        return max((float(line.rsplit(" ", 1)[1]) for line in lines), default=0.0)


class Kafka:
    def __init__(self, program: str) -> None:
        self.server = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.brokers = self.server.stdout.readline().strip()

    def topics(self, prefix: str, names: list[str]) -> None:
        admin = AdminClient({"bootstrap.servers": self.brokers})
        settings = {"message.timestamp.type": "LogAppendTime"}
        made = admin.create_topics([NewTopic(prefix + name, 6, 1, config=settings) for name in names])
        for future in made.values():
            future.result(30)

    def consumer(self, topic: str) -> Consumer:
        """Of all partitions, from the beginning."""
        consumer = Consumer({
            "bootstrap.servers": self.brokers, "group.id": "bench", "enable.auto.commit": False,
            "isolation.level": "read_committed", "fetch.wait.max.ms": 5, "enable.partition.eof": False,
        })
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(6)])
        return consumer

    def stop(self) -> None:
        self.server.stdin.close()
        self.server.wait()


def simulate(feed: str, kafka: Kafka, prefix: str, *more: str) -> list[str]:
    return [feed, "simulate", "--anomalies", "0", "--quiet", "--brokers", kafka.brokers, "--topic-prefix", prefix, *more]


def behind(kafka: Kafka, feed: str, scorer: str, folder: Path, n: int) -> None:
    """What lies in Kafka already, as quickly as it goes: the rate between a tenth and nine tenths of it."""
    prefix = "behind."
    kafka.topics(prefix, ["raw-trades"])
    subprocess.run(
        simulate(feed, kafka, prefix, "--symbols", "20", "--rate", "2000", "--speed", "max", "--count", str(n)), check=True
    )
    with Scorer(scorer, folder, kafka.brokers, prefix, "100ms") as running:
        seen = []
        while not seen or seen[-1][1] < n:
            time.sleep(0.1)
            seen.append((time.perf_counter(), running.taken()))
            if running.process.poll() is not None:
                sys.exit(Path(running.log.name).read_text())
        inside = [(at, taken) for at, taken in seen if 0.1 * n <= taken <= 0.95 * n]
        (began, first), (ended, last) = inside[0], inside[-1]
        print(f"Kafka in, Kafka out, {n:,} trades that wait: {(last - first) / (ended - began):,.0f} trades/s", flush=True)


def beside(kafka: Kafka, feed: str, scorer: str, folder: Path, rate: int, seconds: int) -> None:
    """What comes at a rate: how far behind the scorer is."""
    prefix = "beside."
    kafka.topics(prefix, ["raw-trades"])
    with Scorer(scorer, folder, kafka.brokers, prefix, "100ms") as running:
        time.sleep(3)
        command = simulate(
            feed, kafka, prefix, "--symbols", "200", "--rate", str(rate / HOUR), "--arrivals", "poisson",
            "--count", str(rate * seconds),
        )
        began = time.perf_counter()
        sender = subprocess.Popen(command)
        lags = []
        while sender.poll() is None:
            time.sleep(0.5)
            lags.append(running.lag())
        sent = time.perf_counter() - began
        while running.taken() < rate * seconds and time.perf_counter() - began < 3 * seconds:
            time.sleep(0.05)
        done = time.perf_counter() - began
        print(
            f"Kafka in, Kafka out, {rate:,} trades/s asked for {seconds} s: sent at {rate * seconds / sent:,.0f}/s, taken at "
            f"{rate * seconds / done:,.0f}/s; age of the last committed record at most {max(lags[4:], default=0):.2f} s",
            flush=True,
        )


def latency(kafka: Kafka, feed: str, scorer: str, folder: Path, rate: int, seconds: int, interval: str) -> None:
    """From the trade that closes a candle, as the broker stamped it, to its alert at a `read_committed` reader."""
    prefix = f"latency-{interval}."
    kafka.topics(prefix, ["raw-trades", "alerts"])
    arrived: dict[tuple[str, int], float] = {}
    ended = threading.Event()

    def listen() -> None:
        consumer = kafka.consumer(prefix + "alerts")
        while not ended.is_set():
            # One by one: to wait for several would be counted as the scorer's time.
            message = consumer.poll(0.05)
            at = time.time() * 1e3
            if message is not None and message.error() is None:
                alert = orjson.loads(message.value())
                arrived.setdefault((alert["symbol"], alert["event_time"]), at)
        consumer.close()

    listener = threading.Thread(target=listen)
    with Scorer(scorer, folder, kafka.brokers, prefix, interval):
        time.sleep(3)
        listener.start()
        command = simulate(
            feed, kafka, prefix, "--symbols", "400", "--rate", str(rate / HOUR), "--arrivals", "poisson",
            "--count", str(rate * seconds),
        )
        began = time.perf_counter()
        subprocess.run(command, check=True)
        sent = time.perf_counter() - began
        time.sleep(2)
        ended.set()
        listener.join()
    closing: dict[tuple[str, int], int] = {}
    heads: dict[str, int] = {}
    consumer, n = kafka.consumer(prefix + "raw-trades"), 0
    while n < rate * seconds:
        for message in consumer.consume(10_000, 5):
            n += 1
            trade = orjson.loads(message.value())
            # The newest candle that this trade closes.
            start = (trade["event_time"] - LATENESS) // CANDLE * CANDLE - CANDLE
            symbol = trade["symbol"]
            if start > heads.get(symbol, -1):
                heads[symbol] = start
                closing[symbol, start] = message.timestamp()[1]
    consumer.close()
    took = sorted(at - closing[key] for key, at in arrived.items() if key in closing)
    of = lambda share: took[min(int(share * len(took)), len(took) - 1)]
    print(
        f"trade in Kafka to alert in Kafka at {rate * seconds / sent:,.0f} trades/s, transactions of {interval}: {len(took):,} alerts, "
        f"median {of(0.5):.0f} ms, p99 {of(0.99):.0f} ms, longest {took[-1]:.0f} ms",
        flush=True,
    )


def main() -> None:
    throughput, scorer, feed, broker, n, repeats = *sys.argv[1:5], *map(int, sys.argv[5:7])
    parts = os.environ.get("PARTS", "core behind beside latency").split()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trades, few = folder / "trades.jsonl", folder / "few.jsonl"
        made = [feed, "simulate", "--symbols", "20", "--rate", "500", "--speed", "max", "--anomalies", "0", "--quiet"]
        subprocess.run([*made, "--count", str(n), "--out", trades], check=True)
        subprocess.run([*made, "--count", "400000", "--out", few], check=True)
        subprocess.run([throughput, "model", few, folder / "model.foreshock"], check=True, stderr=subprocess.DEVNULL)
        if "core" in parts:
            core(throughput, trades, few, repeats)
        if parts == ["core"]:
            return
        kafka = Kafka(broker)
        try:
            if "behind" in parts:
                behind(kafka, feed, scorer, folder, 5_000_000)
            if "beside" in parts:
                beside(kafka, feed, scorer, folder, 300_000, 30)
            if "latency" in parts:
                for interval in os.environ.get("INTERVALS", "5ms 20ms 100ms").split():
                    latency(kafka, feed, scorer, folder, 50_000, 120, interval)
        finally:
            kafka.stop()


main()
