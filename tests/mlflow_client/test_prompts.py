"""Prompts as the client keeps them: registered models with a tag."""

import mlflow
import pytest
from mlflow.exceptions import MlflowException


def test_prompts_are_registered_and_loaded(client, name):
    first = mlflow.genai.register_prompt(
        name=name, template="Hello {{who}}", commit_message="first", tags={"a": "b"}
    )
    second = mlflow.genai.register_prompt(
        name=name, template=[{"role": "user", "content": "Say {{what}}"}]
    )
    assert (int(first.version), int(second.version)) == (1, 2)
    assert mlflow.genai.load_prompt(name, version=1).template == "Hello {{who}}"
    assert mlflow.genai.load_prompt(f"prompts:/{name}@latest").version == 2
    mlflow.genai.set_prompt_alias(name, "production", 1)
    loaded = mlflow.genai.load_prompt(f"prompts:/{name}@production")
    assert loaded.format(who="you") == "Hello you"
    assert loaded.commit_message == "first"
    assert loaded.tags == {"a": "b"}
    mlflow.genai.delete_prompt_alias(name, "production")
    with pytest.raises(MlflowException):
        mlflow.genai.load_prompt(f"prompts:/{name}@production", cache_ttl_seconds=0)


def test_prompts_and_models_are_apart(client, name):
    mlflow.genai.register_prompt(name=name, template="x")
    client.create_registered_model(f"{name}-model")
    models = [m.name for m in client.search_registered_models(f"name LIKE '{name}%'")]
    assert models == [f"{name}-model"]
    found = mlflow.genai.search_prompts(filter_string=f"name LIKE '{name}%'")
    assert [p.name for p in found] == [name]
    with pytest.raises(MlflowException):
        client.get_prompt_version(f"{name}-model", 1)


def test_tags_and_versions_of_prompts(client, name):
    mlflow.genai.register_prompt(name=name, template="x")
    client.set_prompt_tag(name, "team", "risk")
    assert client.get_prompt(name).tags["team"] == "risk"
    client.delete_prompt_tag(name, "team")
    assert "team" not in client.get_prompt(name).tags
    client.set_prompt_version_tag(name, 1, "k", "v")
    assert client.get_prompt_version(name, 1).tags["k"] == "v"
    client.delete_prompt_version_tag(name, 1, "k")
    assert [p.version for p in client.search_prompt_versions(name)] == [1]
    client.delete_prompt_version(name, 1)
    client.delete_prompt(name)
    assert client.get_prompt(name) is None


def test_a_run_and_a_trace_know_their_prompts(client, experiment, name):
    mlflow.set_experiment(experiment_id=experiment)
    prompt = mlflow.genai.register_prompt(name=name, template="x")
    with mlflow.start_run() as run:
        mlflow.genai.load_prompt(name, version=1)
        client.link_prompt_version_to_run(run.info.run_id, prompt)
    linked = client.get_run(run.info.run_id).data.tags["mlflow.linkedPrompts"]
    assert name in linked
    with mlflow.start_span("uses"):
        mlflow.genai.load_prompt(name, version=1)
    mlflow.flush_trace_async_logging()
    trace_id = mlflow.get_last_active_trace_id()
    client.link_prompt_versions_to_trace([prompt], trace_id)
    traces = client.search_traces(locations=[experiment], filter_string=f"prompt = '{name}/1'")
    assert [t.info.trace_id for t in traces] == [trace_id]
