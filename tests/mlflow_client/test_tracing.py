"""Traces as the client makes, finds, assesses and deletes them."""

import mlflow
import pytest
from mlflow.entities import AssessmentSource, SpanType
from mlflow.exceptions import MlflowException


@pytest.fixture
def traced(client, experiment):
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


def test_a_trace_comes_back_whole(client, experiment, traced):
    trace = mlflow.get_trace(traced)
    assert trace.info.experiment_id == experiment
    assert str(trace.info.state) == "OK" or trace.info.state.value == "OK"
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


def test_traces_are_searched(client, experiment, traced):
    with pytest.raises(ValueError):
        with mlflow.start_span("fails"):
            raise ValueError("no")
    mlflow.flush_trace_async_logging()

    def found(filter_string=None, **arguments):
        traces = mlflow.search_traces(
            locations=[experiment],
            filter_string=filter_string,
            return_type="list",
            **arguments,
        )
        return [t.data.spans[0].name for t in traces]

    assert found() == ["fails", "answer"]
    assert found(order_by=["timestamp_ms ASC"]) == ["answer", "fails"]
    assert found("trace.status = 'ERROR'") == ["fails"]
    assert found("trace.name LIKE 'ans%'") == ["answer"]
    assert found("span.type = 'TOOL'") == ["answer"]
    assert found(max_results=1) == ["fails"]
    client.set_trace_tag(traced, "team", "risk")
    assert found("tag.team = 'risk'") == ["answer"]
    client.delete_trace_tag(traced, "team")
    assert found("tag.team = 'risk'") == []
    with pytest.raises(MlflowException) as error:
        found("nothing.x = 'y'")
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"


def test_traces_of_a_run(client, experiment):
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


def test_assessments(client, traced):
    source = AssessmentSource(source_type="HUMAN", source_id="me@example.org")
    feedback = mlflow.log_feedback(
        trace_id=traced, name="good", value=True, rationale="because", source=source
    )
    expectation = mlflow.log_expectation(trace_id=traced, name="facts", value=["a", {"b": 1}])
    read = mlflow.get_assessment(traced, feedback.assessment_id)
    assert (read.name, read.value, read.rationale) == ("good", True, "because")
    assert mlflow.get_assessment(traced, expectation.assessment_id).value == ["a", {"b": 1}]
    newer = mlflow.override_feedback(
        trace_id=traced, assessment_id=feedback.assessment_id, value=0.25
    )
    shown = {a.assessment_id: a for a in mlflow.get_trace(traced).info.assessments}
    assert shown[feedback.assessment_id].valid is False
    assert shown[newer.assessment_id].value == 0.25
    changed = mlflow.update_assessment(
        traced, newer.assessment_id, mlflow.entities.Feedback(name="good", value="fine")
    )
    assert changed.value == "fine"
    mlflow.delete_assessment(traced, newer.assessment_id)
    with pytest.raises(MlflowException) as error:
        mlflow.get_assessment(traced, newer.assessment_id)
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_traces_are_deleted(client, experiment, traced):
    assert client.delete_traces(experiment, trace_ids=[traced]) == 1
    assert client.delete_traces(experiment, trace_ids=[traced]) == 0
    assert client.search_traces(locations=[experiment]) == []
    with pytest.raises(MlflowException):
        client.get_trace(traced)
