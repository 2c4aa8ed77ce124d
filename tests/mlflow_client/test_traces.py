"""Traces, as `mlflow.start_span` makes and `search_traces` finds them."""

import mlflow
import pytest
from mlflow.entities import SpanType
from mlflow.exceptions import MlflowException


@pytest.fixture
def traced(client, name):
    experiment = mlflow.set_experiment(name).experiment_id
    ids = []
    for i in range(3):
        with mlflow.start_span(f"root-{i}", span_type=SpanType.CHAIN) as root:
            root.set_inputs({"question": f"q{i}"})
            with mlflow.start_span("child", span_type=SpanType.RETRIEVER) as child:
                child.set_attribute("documents", [1, 2, i])
                child.set_outputs({"found": i})
            mlflow.update_current_trace(tags={"n": str(i)}, metadata={"user": f"u{i}"})
            root.set_outputs({"answer": f"a{i}"})
        ids.append(root.trace_id)
    mlflow.flush_trace_async_logging()
    return experiment, ids


def test_a_trace_is_read_whole(client, traced):
    experiment, ids = traced
    trace = client.get_trace(ids[1])
    assert trace.info.experiment_id == experiment
    assert trace.info.state == "OK"
    assert trace.info.tags["n"] == "1"
    assert trace.info.trace_metadata["user"] == "u1"
    spans = {span.name: span for span in trace.data.spans}
    assert set(spans) == {"root-1", "child"}
    assert spans["child"].parent_id == spans["root-1"].span_id
    assert spans["child"].outputs == {"found": 1}
    assert spans["child"].get_attribute("documents") == [1, 2, 1]
    assert spans["root-1"].inputs == {"question": "q1"}


def test_traces_are_searched(client, traced):
    experiment, ids = traced
    for text, expected in (
        (None, [0, 1, 2]),
        ("tags.n = '1'", [1]),
        ("tags.n != '1'", [0, 2]),
        ("metadata.user = 'u2'", [2]),
        ("attributes.status = 'OK'", [0, 1, 2]),
        ("status = 'ERROR'", []),
        ("name = 'root-0'", [0]),
        ("timestamp_ms > 0 AND tags.n = '2'", [2]),
    ):
        found = mlflow.search_traces(
            locations=[experiment], filter_string=text, return_type="list"
        )
        assert sorted(ids.index(trace.info.trace_id) for trace in found) == expected, text
    order = ["timestamp_ms ASC"]
    found = client.search_traces(locations=[experiment], max_results=2, order_by=order)
    assert [ids.index(trace.info.trace_id) for trace in found] == [0, 1] and found.token
    rest = client.search_traces(
        locations=[experiment], max_results=2, order_by=order, page_token=found.token
    )
    assert [ids.index(trace.info.trace_id) for trace in rest] == [2] and not rest.token


def test_traces_are_tagged_and_deleted(client, traced):
    experiment, ids = traced
    client.set_trace_tag(ids[0], "reviewed", "yes")
    assert client.get_trace(ids[0]).info.tags["reviewed"] == "yes"
    client.delete_trace_tag(ids[0], "reviewed")
    assert "reviewed" not in client.get_trace(ids[0]).info.tags
    assert client.delete_traces(experiment, trace_ids=ids[:2]) == 2
    left = mlflow.search_traces(locations=[experiment], return_type="list")
    assert [trace.info.trace_id for trace in left] == ids[2:]
    with pytest.raises(MlflowException):
        client._tracking_client.store.get_trace_info(ids[0])


def test_a_failure_is_traced(client, name):
    experiment = mlflow.set_experiment(name).experiment_id

    @mlflow.trace
    def divide(a, b):
        return a / b

    with pytest.raises(ZeroDivisionError):
        divide(1, 0)
    mlflow.flush_trace_async_logging()
    [trace] = mlflow.search_traces(
        locations=[experiment], filter_string="status = 'ERROR'", return_type="list"
    )
    [span] = trace.data.spans
    assert span.name == "divide" and span.inputs == {"a": 1, "b": 0}
    assert any(event.name == "exception" for event in span.events)


def test_traces_belong_to_runs_and_are_judged(client, name):
    experiment = mlflow.set_experiment(name).experiment_id
    with mlflow.start_run() as run:
        with mlflow.start_span("inside") as span:
            pass
    mlflow.flush_trace_async_logging()
    found = mlflow.search_traces(
        locations=[experiment], run_id=run.info.run_id, return_type="list"
    )
    assert [trace.info.trace_id for trace in found] == [span.trace_id]
    mlflow.log_feedback(trace_id=span.trace_id, name="good", value=True, rationale="it is")
    mlflow.log_expectation(trace_id=span.trace_id, name="answer", value={"x": 1})
    assessments = {a.name: a for a in client.get_trace(span.trace_id).info.assessments}
    assert assessments["good"].feedback.value is True
    assert assessments["answer"].expectation.value == {"x": 1}
