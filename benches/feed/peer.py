"""What somebody would otherwise write: a file of trades into Kafka with confluent-kafka and orjson.

usage: peer.py FILE.csv BROKERS TOPIC N_TRADES
"""

import csv
import sys

import orjson
from confluent_kafka import Producer


def main() -> None:
    path, brokers, topic, n_trades = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "enable.idempotence": True,
            "acks": "all",
            "compression.codec": "lz4",
            "linger.ms": 20,
            "batch.num.messages": 100_000,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 65_536,
            "partitioner": "murmur2_random",
            # Ours asks for no report of each record either.
            "delivery.report.only.error": True,
        }
    )
    dumps, produce, poll = orjson.dumps, producer.produce, producer.poll
    with open(path, newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for number, (symbol, time, trade_id, price, quantity, side) in enumerate(rows):
            if number == n_trades:
                break
            value = dumps(
                {
                    "symbol": symbol,
                    "trade_id": int(trade_id),
                    "price": float(price),
                    "quantity": float(quantity),
                    "side": side,
                    "event_time": int(time),
                }
            )
            while True:
                try:
                    produce(topic, value, symbol)
                    break
                except BufferError:
                    poll(0.01)
            if number % 10_000 == 0:
                poll(0)
    left = producer.flush(120)
    if left:
        sys.exit(f"{left} records are not in Kafka")


main()
