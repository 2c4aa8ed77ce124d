"""Writes what MLflow's own stores make of thousands of filters and orders.

    venv/bin/python make_filter_corpus.py ../../registry/tests/fixtures/filters.jsonl

Each line is `[resource, kind, text, parsed]`: `kind` is `filter` or `order`, `parsed` what the
reference understands, or null where it refuses. Whether it refuses is asked of its real stores over
an empty database, since they check more than its parser does. `registry/tests/it/filter_corpus.rs`
holds our parser against it. The same seed gives the same file.
"""

import json
import logging
import math
import random
import sys
import tempfile

from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore
from mlflow.utils.search_utils import (
    SearchExperimentsUtils,
    SearchLoggedModelsUtils,
    SearchModelUtils,
    SearchModelVersionUtils,
    SearchTraceUtils,
    SearchUtils,
)

SEED = 20_260
FILTERS = 1300
ORDERS = 260

# The names of attributes that mean another one.
ALIASES = {
    "runs": {
        "created": "start_time",
        "Created": "start_time",
        "run name": "run_name",
        "Run name": "run_name",
        "Run Name": "run_name",
    },
    "experiments": {},
    "registered_models": {"timestamp": "last_updated_timestamp"},
    "model_versions": {"version_number": "version", "source_path": "source"},
    "logged_models": {
        "creation_time": "creation_timestamp",
        "last_updated_time": "last_updated_timestamp",
    },
    "traces": {"request_id": "trace_id"},
}

ATTRIBUTES = {
    "runs": [
        "run_id", "run_name", "`run name`", "`Run name`", '"Run Name"', "user_id", "status",
        "artifact_uri", "start_time", "created", "Created", "end_time", "experiment_id",
        "lifecycle_stage", "run_uuid", "name", "Status", "START_TIME",
    ],
    "experiments": [
        "name", "experiment_id", "creation_time", "last_update_time", "lifecycle_stage",
        "artifact_location", "Name", "`name`", "last_updated_time",
    ],
    "registered_models": [
        "name", "creation_timestamp", "last_updated_timestamp", "timestamp", "description",
        "`name`", "NAME", "version_number",
    ],
    "model_versions": [
        "name", "version_number", "run_id", "source_path", "creation_timestamp", "version",
        "last_updated_timestamp", "current_stage", "status", "user_id", "`run_id`", "source",
    ],
    "logged_models": [
        "name", "model_id", "model_type", "status", "source_run_id", "creation_timestamp",
        "creation_time", "last_updated_timestamp", "last_updated_time", "experiment_id", "`name`",
    ],
    "traces": [
        "name", "status", "request_id", "timestamp_ms", "timestamp", "execution_time", "execution_time_ms",
        "end_time", "client_request_id", "run_id", "prompt", "text", "trace_id", "`name`", "Status",
        "experiment_id",
    ],
}
# What traces have beside attributes and tags.
OF_TRACES = [
    "metadata.user", "metadata.`a b`", "request_metadata.a.b", "metadata.x", "span.name", "span.type",
    "span.status", "span.attributes.a", "span.attributes.a.b", "span.nothing", "span.content",
    "feedback.good", "feedback.a1", "expectation.facts", "issue.id", "issue.x", "span.attributes.",
    "trace.name", "trace.status", "trace.nothing", "metadata.", "feedback.`a b`",
]
PREFIXES = [
    "metrics", "metric", "params", "param", "parameter", "parameters", "tags", "tag", "attributes",
    "attribute", "attr", "run", "dataset", "datasets", "`tags`", '"tags"', "Tags", "metricz", "model",
]
KEYS = [
    "auc", "lr", "a1", "_x", "a.b", "mlflow.runName", "mlflow.prompt.is_prompt", "`a b`", '"a b"',
    "`a/b-c:d`", '"x.y"', "`größe`", "größe", "日本", "order", "end", "date", "value", "key", "type",
    "user", "count", "select", "from", "name", "`a`.b", "a.`b`", "a-b", "a/b", "1a", "a1.2", "'q'",
    "", "`", "``", "a b", "`it's`", '`say "x"`', "timestamp", "context", "digest", "`AND`", "and",
    "like", "in", "null", "max", "cpu_percent", "step1_loss", "%x", "a$b", "@v", "#h",
]
COMPARATORS = [
    "=", "!=", "<", "<=", ">", ">=", "LIKE", "like", "ILIKE", "iLike", "IN", "in", "NOT IN",
    "not in", "IS NULL", "is null", "IS NOT NULL", "is not null", "==", "<>", "~", "NOT LIKE",
    "BETWEEN", "RLIKE", "IS", "=>", "NOT", "!<", "CONTAINS",
]
TEXTS = [
    "'x'", "'FINISHED'", "'RUNNING'", '"x"', "'a b'", "'%x_'", "''", '""', "'it''s'", '"it\'s"',
    "'say \"x\"'", "'größe 日本'", "'1'", "'0'", "'a = b AND c'", "'a\\'b'", "`x`", "x", "x.y", "true",
    "NULL", "'a' 'b'", "' '", "'-- x'", "'(a)'", "'a,b'", "'AND'", "'\t'", "'x\ny'", "'a;b'", "'a\\\\b'",
]
NUMBERS = [
    "0", "1", "-1", "+1", "1.5", "-0.25", ".5", "5.", "1e5", "1E-5", "-2.5e+3", "1664067852747",
    "9007199254740993", "0x1F", "1_000", "1a", "--1", "1.2.3", "inf", "nan", "1 000", "- 1", "1e",
]
LISTS = [
    "('a')", "('a','b')", "('a', 'b', 'c')", '("a", "b")', "('a',)", "()", "('a', 1)", "(1, 2)",
    "('a' 'b')", "('a'", "('1','2')", "( 'a' , 'b' )", "('a',,'b')", "(('a'),'b')", "(a, b)", "['a']",
    "'a','b'", "('it''s')", "('a', 'b',)", "(NULL)", "('größe')", "('a' , \"b\")", "('x=y', 'AND')",
]
JOINERS = [" AND ", " and ", " And ", "\nAND\t", " AND AND ", " OR ", ", ", "; ", " ", " && ", "AND"]


def field(rng, resource):
    if resource == "traces" and rng.random() < 0.3:
        return rng.choice(OF_TRACES)
    kind = rng.random()
    if kind < 0.35:
        name = rng.choice(ATTRIBUTES[resource])
        if rng.random() < 0.4:
            name = f"{rng.choice(['attribute', 'attributes', 'attr', 'run'])}.{name}"
        return name
    if kind < 0.9:
        prefix = rng.choice(["tags", "tag", "tags", "params", "metrics", rng.choice(PREFIXES)])
        key = rng.choice(KEYS[:20] if rng.random() < 0.6 else KEYS)
        if prefix.startswith("dataset") and rng.random() < 0.7:
            key = rng.choice(["name", "digest", "context"])
        return f"{prefix}.{key}"
    return rng.choice(KEYS)


def right_of(rng, comparator, left):
    word = comparator.upper()
    if word.startswith("IS"):
        return ""
    if word in ("IN", "NOT IN") and rng.random() < 0.85:
        return rng.choice(LISTS[:4] if rng.random() < 0.5 else LISTS)
    numeric = left.startswith("metric") or "time" in left or left.endswith("number") or "reated" in left
    if rng.random() < (0.85 if numeric else 0.06):
        return rng.choice(NUMBERS[:12] if rng.random() < 0.6 else NUMBERS)
    return rng.choice(TEXTS[:8] if rng.random() < 0.6 else TEXTS)


# What is right more often than not, so that there is enough to be accepted.
GOOD_TEXTS = TEXTS[:11] + ['"größe"', "'a;b'", "'x\\ny'"]
GOOD_KEYS = KEYS[:24]


def good_comparison(rng, resource):
    if resource == "traces" and rng.random() < 0.4:
        left = rng.choice(OF_TRACES[:15])
        return f"{left} {rng.choice(['=', '=', '!=', 'LIKE', 'ILIKE', 'like'])} {rng.choice(GOOD_TEXTS)}"
    entities = {"runs": ["metrics", "params", "tags", "dataset"], "logged_models": ["metrics", "params", "tags"]}
    entity = rng.choice([*entities.get(resource, ["tags"]), "attribute"])
    if entity == "attribute":
        left = rng.choice(ATTRIBUTES[resource][:8])
        if rng.random() < 0.3:
            left = ("attributes." if resource in ("runs", "logged_models") else "attribute.") + left
    elif entity == "dataset":
        left = rng.choice(["dataset", "datasets"]) + "." + rng.choice(["name", "digest", "context"])
    else:
        left = f"{entity}.{rng.choice(GOOD_KEYS)}"
    numeric = entity == "metrics" or "time" in left or "reated" in left or "number" in left
    if numeric:
        return f"{left} {rng.choice(COMPARATORS[:6])} {rng.choice(NUMBERS[:12])}"
    if entity in ("attribute", "dataset") and rng.random() < 0.25:
        lists = ["('1', '2')", "('7')"] if "experiment_id" in left else LISTS[:5]
        return f"{left} {rng.choice(['IN', 'in', 'NOT IN'])} {rng.choice(lists)}"
    if entity in ("tags", "params") and rng.random() < 0.15:
        return f"{left} {rng.choice(['IS NULL', 'IS NOT NULL', 'is null'])}"
    comparator = rng.choice(["=", "!=", "LIKE", "ILIKE", "like", "ilike"])
    return f"{left} {comparator} {rng.choice(GOOD_TEXTS)}"


def comparison(rng, resource):
    if rng.random() < 0.55:
        return good_comparison(rng, resource)
    left = field(rng, resource)
    comparator = rng.choice(COMPARATORS[:18] if rng.random() < 0.9 else COMPARATORS)
    if rng.random() < 0.4:
        comparator = rng.choice(["=", "!=", "LIKE"])
    if left.startswith("metric") and rng.random() < 0.7:
        comparator = rng.choice(COMPARATORS[:6])
    gap = rng.choice([" ", " ", " ", "  ", "\n"])
    if not comparator[0].isalpha() and rng.random() < 0.25:
        gap = ""
    return f"{left}{gap}{comparator}{gap}{right_of(rng, comparator, left)}".rstrip(" ")


def mutated(rng, text):
    at = rng.randrange(len(text) + 1)
    what = rng.random()
    if what < 0.35 and text:
        return text[:at] + text[at + 1 :]
    if what < 0.8:
        return text[:at] + rng.choice("'\"`().,;=<>!% -_aA1\n\\é*/#") + text[at:]
    return text[:at] + rng.choice([" AND ", " NOT ", " IN ", "--", "/*", "''", " OR "]) + text[at:]


def a_filter(rng, resource):
    count = rng.choice([1, 1, 1, 2, 2, 3])
    parts = [comparison(rng, resource) for _ in range(count)]
    text = parts[0]
    for part in parts[1:]:
        text += (rng.choice(JOINERS[:4]) if rng.random() < 0.75 else rng.choice(JOINERS)) + part
    edge = rng.random()
    if edge < 0.03:
        text += " AND"
    elif edge < 0.05:
        text = "AND " + text
    elif edge < 0.07:
        text = f"({text})"
    elif edge < 0.11:
        text = rng.choice([f" {text} ", f"\n{text}", f"{text};", f"{text} -- note", f"{text} /* n */"])
    if rng.random() < 0.12:
        text = mutated(rng, text)
    return text


def an_order(rng, resource):
    text = field(rng, resource)
    end = rng.random()
    if end < 0.3:
        text += " " + rng.choice(["ASC", "asc", "DESC", "desc", "Desc"])
    elif end < 0.45:
        text += rng.choice([" UP", " ASC DESC", "  DESC", " DESC ", " DESC NULLS LAST", ", name", " ASC,"])
    if rng.random() < 0.08:
        text = mutated(rng, text)
    return text


class Stores:
    """The reference's stores over an empty database: they refuse what the server refuses."""

    def __init__(self, folder):
        uri = f"sqlite:///{folder}/mlflow.db"
        self.tracking = TrackingStore(uri, f"{folder}/artifacts")
        self.registry = RegistryStore(uri)

    def search(self, resource, text=None, order=None):
        if resource == "runs":
            self.tracking.search_runs(["0"], text, 1, 10, [order] if order else None)
        elif resource == "experiments":
            self.tracking.search_experiments(1, 10, text, [order] if order else None)
        elif resource == "registered_models":
            self.registry.search_registered_models(text, 10, [order] if order else None)
        elif resource == "traces":
            self.tracking.search_traces(["0"], text, 10, [order] if order else None)
        elif resource == "model_versions":
            self.registry.search_model_versions(text, 10, [order] if order else None)
        else:
            self.tracking.search_logged_models(
                ["0"], text, order_by=[{"field_name": order}] if order else None
            )


PARSERS = {
    "runs": SearchUtils.parse_search_filter,
    "experiments": SearchExperimentsUtils.parse_search_filter,
    "registered_models": SearchModelUtils.parse_search_filter,
    "model_versions": SearchModelVersionUtils.parse_search_filter,
    "logged_models": None,
    # Before it takes names of attributes for tags and metadata, whatever stands before the dot.
    "traces": SearchTraceUtils.parse_search_filter,
}


def logged_model_clauses(text):
    from mlflow.utils.search_logged_model_utils import parse_filter_string

    parsed = []
    for clause in parse_filter_string(text):
        kind = {"attributes": "attribute", "metrics": "metric", "params": "parameter", "tags": "tag"}
        parsed.append(
            {
                "type": kind[clause.entity.type.value],
                "key": clause.entity.key,
                "comparator": clause.op,
                "value": clause.value,
            }
        )
    return parsed


def clauses(resource, text):
    parse = PARSERS[resource] or logged_model_clauses
    parsed = []
    for clause in parse(text):
        key, value = clause["key"], clause["value"]
        if clause["type"] == "attribute":
            key = ALIASES[resource].get(key, key).removesuffix("_ms")
        if clause["type"] == "metric" and isinstance(value, str):
            value = float(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("Python reads `nan` and `inf` as numbers; nobody means them")
        if isinstance(value, tuple):
            value = list(value)
        kind = "parameter" if clause["type"] == "request_metadata" else clause["type"]
        if (kind, key) == ("span", "content"):
            kind, key = "attribute", "text"
        parsed.append([kind, key, clause["comparator"].upper(), value])
    return parsed


def an_order_parsed(resource, text):
    if resource == "logged_models":
        name = SearchLoggedModelsUtils.parse_order_by_for_logged_models({"field_name": text}).field_name
        kind, _, key = name.partition(".")
        if key:
            return ["metric", key, True]
        return ["attribute", ALIASES[resource].get(name, name), True]
    if resource == "traces":
        name, ascending = SearchTraceUtils._parse_order_by_string(text)
        valid = SearchTraceUtils.VALID_ORDER_BY_ATTRIBUTE_KEYS
        found = SearchTraceUtils._get_identifier(name.strip(), valid)
        kind = "parameter" if found["type"] == "request_metadata" else found["type"]
        key = found["key"]
        if kind == "attribute":
            key = ALIASES[resource].get(key, key).removesuffix("_ms")
        return [kind, key, ascending]
    parse = {
        "runs": SearchUtils.parse_order_by_for_search_runs,
        "experiments": SearchExperimentsUtils.parse_order_by_for_search_experiments,
        "registered_models": SearchUtils.parse_order_by_for_search_registered_models,
        "model_versions": SearchModelVersionUtils.parse_order_by_for_search_model_versions,
    }[resource]
    found = parse(text)
    if resource == "registered_models":
        found = ("attribute", *found)
    kind, key, ascending = found
    if kind == "attribute":
        key = ALIASES[resource].get(key, key)
    return [kind, key, ascending]


def understood(stores, resource, kind, text):
    """What the reference makes of it; None where it refuses, or fails with 500."""
    try:
        if kind == "filter":
            stores.search(resource, text=text)
            return clauses(resource, text)
        stores.search(resource, order=text)
        return an_order_parsed(resource, text)
    except MlflowException:
        return None
    except Exception:
        return None


def main():
    logging.disable(logging.CRITICAL)
    rng = random.Random(SEED)
    seen = set()
    accepted = {"filter": 0, "order": 0}
    with tempfile.TemporaryDirectory() as folder, open(sys.argv[1], "w", encoding="utf-8") as out:
        stores = Stores(folder)
        for resource in ATTRIBUTES:
            for kind, count, make in (("filter", FILTERS, a_filter), ("order", ORDERS, an_order)):
                for _ in range(count):
                    text = make(rng, resource)
                    if not text or (resource, kind, text) in seen:
                        continue
                    seen.add((resource, kind, text))
                    parsed = understood(stores, resource, kind, text)
                    accepted[kind] += parsed is not None
                    line = [resource, kind, text, parsed]
                    out.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"{len(seen)} lines; accepted: {accepted}")


if __name__ == "__main__":
    main()
