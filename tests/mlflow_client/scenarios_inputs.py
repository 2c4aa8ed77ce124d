"""More scenarios: what runs read, traces, webhooks, GraphQL. As in `scenarios.py`."""

import json

from scenarios import scenario

API = "/api/3.0/mlflow/traces"


def dataset(name, digest, context=None, **more):
    tags = [{"key": "mlflow.data.context", "value": context}] if context else []
    whole = {"name": name, "digest": digest, "source_type": "local", "source": "{}"} | more
    return {"tags": tags, "dataset": whole}


@scenario
def data_sets(s):
    s.post("experiments/create", {"name": "ds"}, keep={"ds": "experiment_id"})
    for i in range(2):
        s.post("runs/create", {"experiment_id": "${ds}", "run_name": f"d{i}", "start_time": i}, keep={f"d{i}": "run.info.run_id"})
    # What one of the two takes and the other doesn't goes there.
    s.post("experiments/create", {"name": "ds-wrong"}, keep={"dsw": "experiment_id"})
    s.post("runs/create", {"experiment_id": "${dsw}", "run_name": "d2"}, keep={"d2": "run.info.run_id"})
    log = "runs/log-inputs"
    one, two = dataset("a", "dig-1", "train", schema="{}", profile="[1]"), dataset("größe", "dig-2", "eval")
    s.post(log, {"run_id": "${d0}", "datasets": [one]})
    s.post(log, {"run_id": "${d0}", "datasets": [one]})
    s.post(log, {"run_id": "${d1}", "datasets": [two, dataset("a", "dig-1", "train")]})
    s.get("runs/get", run_id="${d0}")
    s.post(log, {"run_id": "${d0}", "datasets": []})
    s.post(log, {"run_id": "${d0}"})
    s.post(log, {"datasets": [one]})
    s.post(log, {"run_id": "0" * 32, "datasets": [one]})
    for wrong in (
        dataset("", "1"), dataset("b", ""), dataset("b", "1", source=""), dataset("b", "1", source_type=""),
        dataset("n" * 501, "1"), dataset("b", "d" * 37),
        {"tags": []}, {"dataset": {"name": "b"}}, dataset("b", "1") | {"tags": [{"key": "k" * 256, "value": ""}]},
        dataset("b", "1") | {"tags": [{"key": "k", "value": "v" * 501}]}, dataset("b", "1") | {"tags": [{"value": "v"}]},
    ):
        s.post(log, {"run_id": "${d2}", "datasets": [wrong]})
    s.get("runs/get", run_id="${d0}")
    for text in (
        "dataset.name = 'a'", "dataset.name LIKE 'gr%'", "dataset.context = 'train'", "dataset.digest IN ('dig-2')",
        "dataset.name = 'a' AND dataset.context = 'eval'", "datasets.name = 'nothing'", "dataset.nothing = 'a'",
        "dataset.name > 'a'",
    ):
        s.post("runs/search", {"experiment_ids": ["${ds}"], "filter": text, "order_by": ["start_time"]})
    search = "/ajax-api/2.0/mlflow/experiments/search-datasets"
    for body in ({"experiment_ids": ["${ds}"]}, {"experiment_ids": []}, {"experiment_ids": ["999999"]}, {}):
        s.raw("POST", search, json.dumps(body), content_type="application/json")
    bulk = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
    point = {"key": "m", "value": 0.5, "timestamp": 5, "step": 1}
    s.post("runs/log-batch", {"run_id": "${d0}", "metrics": [point, point | {"step": 0}, point | {"timestamp": 4, "step": 9}]})
    s.raw("GET", bulk + "?run_id=${d0}&metric_key=m")
    s.raw("GET", bulk + "?run_id=${d0}&run_id=nobody&metric_key=m&max_results=2")
    s.raw("GET", bulk + "?run_id=${d0}&metric_key=nothing")
    s.raw("GET", bulk + "?run_id=${d0}")
    s.raw("GET", bulk + "?metric_key=m")


def send(s, method, path, body, keep=None):
    s.raw(method, path, json.dumps(body, ensure_ascii=False), content_type="application/json", keep=keep)


def trace(number, **more):
    info = {
        "trace_id": "tr-" + f"{number}" * 32,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "${tr}"}},
        "request_time": f"2023-11-14T22:13:2{number}.500Z",
        "execution_duration": "1.250s",
        "state": "OK",
        "trace_metadata": {"user": f"u{number}", "camelCase": "kept"},
        "tags": {"mlflow.traceName": f"n{number}", "aB": "größe"},
    }
    return {"trace": {"trace_info": info | more}}


@scenario
def traces(s):
    s.post("experiments/create", {"name": "tr"}, keep={"tr": "experiment_id"})
    send(s, "POST", API, trace(1, request_preview="q", response_preview="a", client_request_id="c"))
    send(s, "POST", API, trace(2, state="ERROR", execution_duration="0.003s"))
    send(s, "POST", API, trace(3, state="IN_PROGRESS"))
    first, second = "tr-" + "1" * 32, "tr-" + "2" * 32
    send(s, "POST", API, {})
    s.raw("GET", f"{API}/{first}")
    s.raw("GET", f"{API}/tr-none")
    send(s, "PATCH", f"{API}/{first}/tags", {"key": "team", "value": "risk"})
    send(s, "PATCH", f"{API}/{first}/tags", {"key": "team", "value": "other"})
    send(s, "PATCH", f"{API}/{first}/tags", {"value": "risk"})
    send(s, "PATCH", f"{API}/tr-none/tags", {"key": "team", "value": "risk"})
    send(s, "DELETE", f"{API}/{second}/tags", {"key": "aB"})
    send(s, "DELETE", f"{API}/{second}/tags", {"key": "aB"})
    where = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "${tr}"}}]
    for text in (
        "", "status = 'OK'", "trace.status != 'OK'", "status IN ('OK', 'ERROR')", "tags.team = 'other'",
        "tag.aB = 'größe'", "tags.team IS NULL", "metadata.user = 'u2'", "request_metadata.user LIKE 'u%'",
        "name = 'n1'", "attributes.name ILIKE 'N_'", "timestamp_ms > 1700000001500", "timestamp = 1",
        "execution_time_ms >= 1250", "execution_time < 10", "request_id = 'tr-none'",
        f"trace.request_id = '{first}'", "client_request_id = 'c'", "status = 'OK' AND tags.team = 'other'",
        "nothing = 'x'", "nothing.x = 'y'", "status > 'OK'", "timestamp_ms = 'x'", "status = OK", "tags.team",
        "status = 'OK' OR status = 'ERROR'", "feedback.good = 'x'", "prompt = 'p'",
    ):
        send(s, "POST", f"{API}/search", {"locations": where, "filter": text, "order_by": ["timestamp_ms ASC"]})
    for order in ("timestamp_ms DESC", "execution_time ASC", "status", "request_id DESC", "nothing", "name ASC", "tags.team"):
        send(s, "POST", f"{API}/search", {"locations": where, "filter": "status != 'x'", "order_by": [order, "timestamp_ms"]})
    page = {"locations": where, "max_results": 2, "order_by": ["timestamp_ms ASC"]}
    send(s, "POST", f"{API}/search", page, keep={"trp": "next_page_token"})
    send(s, "POST", f"{API}/search", page | {"page_token": "${trp}"})
    for wrong in ({"max_results": 0}, {"max_results": 501}, {"page_token": "garbage"}, {"locations": []}):
        send(s, "POST", f"{API}/search", page | wrong)
    send(s, "POST", f"{API}/batchGetInfos", {"trace_ids": [first, "tr-none"]})
    send(s, "POST", f"{API}/delete-traces", {"experiment_id": "${tr}"})
    send(s, "POST", f"{API}/delete-traces", {"trace_ids": [first]})
    send(s, "POST", f"{API}/delete-traces", {"experiment_id": "${tr}", "request_ids": [first, "tr-none"]})
    send(s, "POST", f"{API}/delete-traces", {"experiment_id": "${tr}", "max_timestamp_millis": 1700000003000, "max_traces": 1})
    send(s, "POST", f"{API}/search", {"locations": where})


@scenario
def webhooks(s):
    # A public address without a name to resolve; of events that no scenario makes.
    url, events = "https://1.1.1.1/hook", [{"entity": "PROMPT_TAG", "action": "DELETED"}]
    new = {"name": "hook", "url": url, "events": events, "description": "tells", "secret": "s3cret"}
    s.post("webhooks", new, keep={"hook": "webhook.webhook_id"})
    s.get("webhooks/${hook}")
    s.get("webhooks")
    s.get("webhooks", max_results="1")
    s.get("webhooks", max_results="0")
    s.get("webhooks", max_results="1001")
    s.get("webhooks", page_token="garbage")
    s.get("webhooks/nothing")
    for wrong in (
        {"name": ""}, {"name": None}, {"name": "-a"}, {"name": "a b"}, {"name": "a" * 64}, {"url": ""}, {"url": "x"},
        {"url": "ftp://1.1.1.1/x"}, {"url": "http://1.1.1.1/x"}, {"url": "https://127.0.0.1/x"},
        {"url": "https://10.0.0.1/x"}, {"events": []}, {"events": [{"entity": "PROMPT_TAG"}]},
        {"events": [{"entity": "RUN", "action": "DELETED"}]}, {"events": [{"entity": "NOTHING", "action": "SET"}]},
    ):
        s.post("webhooks", new | wrong)
    s.call("PATCH", "webhooks/${hook}", {"status": "DISABLED", "description": "silent"})
    s.call("PATCH", "webhooks/${hook}", {"events": [{"entity": "PROMPT_VERSION_TAG", "action": "DELETED"}]})
    s.call("PATCH", "webhooks/${hook}", {"url": "x"})
    s.call("PATCH", "webhooks/${hook}", {"name": "a b"})
    s.call("PATCH", "webhooks/nothing", {"status": "ACTIVE"})
    s.call("DELETE", "webhooks/${hook}", {})
    s.call("DELETE", "webhooks/${hook}", {})
    s.get("webhooks/${hook}")


RUN = """query GetRun($data: MlflowGetRunInput!) {
  mlflowGetRun(input: $data) {
    apiError { code message __typename }
    run {
      info { runName status runUuid experimentId endTime startTime lifecycleStage userId __typename }
      experiment { experimentId name lifecycleStage tags { key value } __typename }
      data { metrics { key value step timestamp } params { key value } tags { key value } }
      inputs { datasetInputs { dataset { name digest } tags { key value } } modelInputs { modelId } }
      modelVersions { name version status source __typename }
      __typename
    }
    __typename
  }
}"""
EXPERIMENT = """query($e: MlflowGetExperimentInput) {
  shown: mlflowGetExperiment(input: $e) { apiError { code } experiment { name experimentId __typename } }
}"""
RUNS = """query($s: MlflowSearchRunsInput) {
  mlflowSearchRuns(input: $s) { apiError { code } nextPageToken runs { info { runName runId } } }
}"""
DATASETS = """mutation($d: MlflowSearchDatasetsInput) {
  mlflowSearchDatasets(input: $d) { apiError { code } datasetSummaries { name digest context experimentId } }
}"""
BULK = """query($b: MlflowGetMetricHistoryBulkIntervalInput) {
  mlflowGetMetricHistoryBulkInterval(input: $b) { apiError { code } metrics { key value step timestamp runId } }
}"""


@scenario
def graphql(s):
    s.post("experiments/create", {"name": "gq", "tags": [{"key": "a", "value": "b"}]}, keep={"gq": "experiment_id"})
    s.post("runs/create", {"experiment_id": "${gq}", "run_name": "g", "start_time": 7000, "user_id": "me"}, keep={"g": "run.info.run_id"})
    s.post("runs/log-batch", {
        "run_id": "${g}", "params": [{"key": "lr", "value": "0.1"}],
        "metrics": [{"key": "auc", "value": 0.5, "timestamp": 9_007_199_254_740_993, "step": 3000}],
    })
    s.post("runs/log-inputs", {"run_id": "${g}", "datasets": [dataset("g", "dig-g", "train")]})
    s.post("registered-models/create", {"name": "gq-model"})
    s.post("model-versions/create", {"name": "gq-model", "source": "s3://bucket/model", "run_id": "${g}"})

    def ask(query, **variables):
        send(s, "POST", "/graphql", {"query": query, "variables": variables})

    ask(RUN, data={"runId": "${g}"})
    ask(EXPERIMENT, e={"experimentId": "${gq}"})
    ask(RUNS, s={"experimentIds": ["${gq}"], "filter": "params.lr = '0.1'", "maxResults": 5})
    ask(DATASETS, d={"experimentIds": ["${gq}"]})
    ask(BULK, b={"runIds": ["${g}"], "metricKey": "auc", "maxResults": 10})
    ask("{ __typename }")
