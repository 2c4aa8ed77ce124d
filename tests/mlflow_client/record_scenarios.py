"""Records what MLflow's own server answers to the scenarios.

    venv/bin/python record_scenarios.py ../../registry/tests/fixtures/scenarios.jsonl

One step a line: the request, the status and the JSON (of an error, its code). What an answer has of
its own (ids, names, times) is replaced by `${…}`. `registry/tests/it/replay.rs` asks our server the
same and compares.
"""

import json
import os
import sys
import tempfile
import time
from urllib.parse import quote, urlencode

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import requests  # noqa: E402
import scenarios_inputs  # noqa: E402, F401  Adds its own to the list.
from scenarios import SCENARIOS  # noqa: E402
from servers import MLFLOW, serve  # noqa: E402


class Recorder:
    def __init__(self, url, out):
        self.url, self.out = url, out
        self.variables, self.scenario, self.count = {}, "", 0

    def begin(self, name):
        self.scenario, self.count = name, 0

    def get(self, path, /, keep=None, **query):
        pairs = [(k, v) for k, vs in query.items() for v in (vs if isinstance(vs, list) else [vs])]
        # Placeholders are filled in before the query is encoded again by whoever replays.
        text = urlencode(pairs, quote_via=quote, safe="${}")
        self.step("GET", f"/api/2.0/mlflow/{path}" + (f"?{text}" if text else ""), None, None, keep)

    def post(self, path, body, keep=None):
        self.call("POST", path, body, keep)

    def call(self, method, path, body, keep=None):
        text = json.dumps(body, ensure_ascii=False)
        self.step(method, f"/api/2.0/mlflow/{path}", text, "application/json", keep)

    def raw(self, method, path, body=None, content_type=None, keep=None):
        self.step(method, path, body, content_type, keep)

    def filled(self, text):
        for name, value in self.variables.items():
            text = text.replace(f"${{{name}}}", value)
        return text

    def step(self, method, path, body, content_type, keep):
        self.count += 1
        headers = {"content-type": content_type} if content_type else {}
        data = self.filled(body).encode() if body is not None else None
        response = requests.request(
            method, self.url + self.filled(path), data=data, headers=headers, timeout=60
        )
        try:
            answer = response.json()
        except ValueError:
            answer = None
        for name, where in (keep or {}).items():
            value = answer
            for part in where.split("."):
                value = value[part]
            self.variables[name] = value
        if response.status_code >= 400:
            answer = {"error_code": answer["error_code"]} if isinstance(answer, dict) else None
        line = {"step": f"{self.scenario} {self.count}", "method": method, "path": path}
        if body is not None:
            line["body"] = body
        if content_type:
            line["content_type"] = content_type
        if keep:
            line["keep"] = keep
        line |= {"status": response.status_code, "answer": self.normalised(answer)}
        self.out.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")

    def normalised(self, value):
        if isinstance(value, dict):
            return {key: self.normalised(value) for key, value in value.items()}
        if isinstance(value, list):
            return [self.normalised(item) for item in value]
        if isinstance(value, str):
            # Short ones (an experiment's number) only where they are a whole part.
            for name, known in sorted(self.variables.items(), key=lambda pair: -len(pair[1])):
                if len(known) >= 16:
                    value = value.replace(known, f"${{{name}}}")
                else:
                    parts = [f"${{{name}}}" if part == known else part for part in value.split("/")]
                    value = "/".join(parts)
            return value
        if isinstance(value, int) and abs(value - time.time() * 1000) < 3_600_000:
            return "${time}"
        return value


def main():
    with tempfile.TemporaryDirectory() as folder, serve(MLFLOW, folder) as url:
        with open(sys.argv[1], "w", encoding="utf-8") as out:
            recorder = Recorder(url, out)
            for scenario in SCENARIOS:
                recorder.begin(scenario.__name__)
                scenario(recorder)


if __name__ == "__main__":
    main()
