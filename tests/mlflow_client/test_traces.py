"""Traces as the client makes, finds, assesses and deletes them."""

import mlflow
import pytest
from mlflow.entities import AssessmentSource, SpanType
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


@pytest.fixture
def answered(client, experiment):
    """A trace of two spans, and its id."""
    mlflow.set_experiment(experiment_id=experiment)

    @mlflow.trace(span_type=SpanType.TOOL)
    def look_up(symbol):
        return {"price": 42.5, "symbol": symbol}

    with mlflow.start_span("answer", attributes={"größe": 7}) as span:
        span.set_inputs({"question": "what is it worth?"})
        span.set_outputs(look_up("ABC"))
    mlflow.flush_trace_async_logging()
    return mlflow.get_last_active_trace_id()


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


def test_spans_keep_their_order_times_and_types(client, experiment, answered):
    trace = mlflow.get_trace(answered)
    assert trace.info.experiment_id == experiment
    assert trace.info.state == "OK"
    assert [s.name for s in trace.data.spans] == ["answer", "look_up"]
    root, child = trace.data.spans
    assert root.inputs == {"question": "what is it worth?"}
    assert root.outputs == {"price": 42.5, "symbol": "ABC"}
    assert root.attributes["größe"] == 7
    assert child.parent_id == root.span_id
    assert child.span_type == "TOOL"
    assert child.inputs == {"symbol": "ABC"}
    assert root.start_time_ns <= child.start_time_ns <= child.end_time_ns <= root.end_time_ns
    assert "what is it worth?" in trace.info.request_preview


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
    whole = client.search_traces(locations=[experiment])
    # Some may have begun within one millisecond: then by their ids.
    sorted_ids = [id for _, id in sorted((t.info.request_time, t.info.trace_id) for t in whole)]
    order = ["timestamp_ms ASC"]
    found = client.search_traces(locations=[experiment], max_results=2, order_by=order)
    assert [trace.info.trace_id for trace in found] == sorted_ids[:2] and found.token
    rest = client.search_traces(
        locations=[experiment], max_results=2, order_by=order, page_token=found.token
    )
    assert [trace.info.trace_id for trace in rest] == sorted_ids[2:] and not rest.token


def test_traces_are_found_by_what_is_in_them(client, experiment, answered):
    with pytest.raises(ValueError):
        with mlflow.start_span("fails"):
            raise ValueError("no")
    mlflow.flush_trace_async_logging()

    def found(filter_string=None, **arguments):
        traces = mlflow.search_traces(
            locations=[experiment], filter_string=filter_string, return_type="list", **arguments
        )
        return [trace.data.spans[0].name for trace in traces]

    assert found() == ["fails", "answer"]
    assert found(order_by=["timestamp_ms ASC"]) == ["answer", "fails"]
    assert found(max_results=1) == ["fails"]
    assert found("trace.status = 'ERROR'") == ["fails"]
    assert found("trace.name LIKE 'ans%'") == ["answer"]
    assert found("span.type = 'TOOL'") == ["answer"]
    assert found("span.content LIKE '%worth%'") == ["answer"]
    assert found("name IS NOT NULL") == ["fails", "answer"]
    assert found("name IS NULL") == []
    client.set_trace_tag(answered, "team", "risk")
    assert found("tag.team = 'risk'") == ["answer"]
    client.delete_trace_tag(answered, "team")
    assert found("tag.team = 'risk'") == []
    with pytest.raises(MlflowException) as error:
        found("nothing.x = 'y'")
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"


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
    with pytest.raises(MlflowException):
        client.get_trace(ids[0])
    assert client.delete_traces(experiment, trace_ids=ids[:1]) == 0


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


def test_traces_are_linked_to_runs(client, experiment):
    mlflow.set_experiment(experiment_id=experiment)
    with mlflow.start_run() as run:
        with mlflow.start_span("inside"):
            pass
    with mlflow.start_span("linked"):
        pass
    mlflow.flush_trace_async_logging()
    client.link_traces_to_run([mlflow.get_last_active_trace_id()], run.info.run_id)
    traces = mlflow.search_traces(
        locations=[experiment], run_id=run.info.run_id, return_type="list"
    )
    assert sorted(t.data.spans[0].name for t in traces) == ["inside", "linked"]


def test_assessments_are_read_overridden_changed_and_deleted(client, answered):
    source = AssessmentSource(source_type="HUMAN", source_id="me@example.org")
    feedback = mlflow.log_feedback(
        trace_id=answered, name="good", value=True, rationale="because", source=source
    )
    expectation = mlflow.log_expectation(trace_id=answered, name="facts", value=["a", {"b": 1}])
    read = mlflow.get_assessment(answered, feedback.assessment_id)
    assert (read.name, read.value, read.rationale) == ("good", True, "because")
    assert mlflow.get_assessment(answered, expectation.assessment_id).value == ["a", {"b": 1}]
    newer = mlflow.override_feedback(
        trace_id=answered, assessment_id=feedback.assessment_id, value=0.25
    )
    shown = {a.assessment_id: a for a in mlflow.get_trace(answered).info.assessments}
    assert shown[feedback.assessment_id].valid is False
    assert shown[newer.assessment_id].value == 0.25
    changed = mlflow.update_assessment(
        answered, newer.assessment_id, mlflow.entities.Feedback(name="good", value="fine")
    )
    assert changed.value == "fine"
    mlflow.delete_assessment(answered, newer.assessment_id)
    with pytest.raises(MlflowException) as error:
        mlflow.get_assessment(answered, newer.assessment_id)
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"
