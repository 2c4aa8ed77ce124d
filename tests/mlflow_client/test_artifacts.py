"""Files of runs, through the server."""

import json
import os

import mlflow
import pytest
import requests
from mlflow.exceptions import MlflowException


def test_files_are_logged_listed_and_downloaded(client, run_id, tmp_path):
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "sub" / "ä b.bin").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "sub" / "deep" / "c.json").write_text("{}")
    client.log_artifact(run_id, tmp_path / "a.txt")
    client.log_artifact(run_id, tmp_path / "a.txt", "folder")
    client.log_artifacts(run_id, tmp_path / "sub", "tree")
    client.log_text(run_id, "text", "notes/x.txt")
    client.log_dict(run_id, {"k": [1, 2]}, "notes/x.json")

    root = client.list_artifacts(run_id)
    assert [(f.path, f.is_dir) for f in root] == [
        ("a.txt", False),
        ("folder", True),
        ("notes", True),
        ("tree", True),
    ]
    assert root[0].file_size == 5
    tree = client.list_artifacts(run_id, "tree")
    assert {(f.path, f.file_size) for f in tree} == {("tree/deep", None), ("tree/ä b.bin", 256_000)}
    assert client.list_artifacts(run_id, "nothing") == []

    local = client.download_artifacts(run_id, "tree", str(tmp_path))
    with open(os.path.join(local, "ä b.bin"), "rb") as file:
        assert file.read() == bytes(range(256)) * 1000
    uri = client.get_run(run_id).info.artifact_uri
    for where in (f"runs:/{run_id}/notes/x.json", f"{uri}/notes/x.json"):
        with open(mlflow.artifacts.download_artifacts(where)) as file:
            assert json.load(file) == {"k": [1, 2]}
    assert mlflow.artifacts.load_text(f"{uri}/notes/x.txt") == "text"
    whole = mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=str(tmp_path / "whole"))
    assert sorted(os.listdir(whole)) == ["a.txt", "folder", "notes", "tree"]
    listed = mlflow.artifacts.list_artifacts(run_id=run_id, artifact_path="notes")
    assert [f.path for f in listed] == ["notes/x.json", "notes/x.txt"]


def test_a_missing_file_is_an_error(client, run_id, tmp_path):
    with pytest.raises(Exception, match="nothing"):
        client.download_artifacts(run_id, "nothing.txt", str(tmp_path))


def test_a_large_file_survives(client, run_id, tmp_path):
    block = os.urandom(1 << 20)
    with open(tmp_path / "large.bin", "wb") as file:
        for _ in range(40):
            file.write(block)
    client.log_artifact(run_id, tmp_path / "large.bin")
    (tmp_path / "out").mkdir()
    local = client.download_artifacts(run_id, "large.bin", str(tmp_path / "out"))
    with open(local, "rb") as file:
        assert file.read() == block * 40


def test_paths_do_not_climb(client, run_id):
    with pytest.raises(requests.HTTPError, match="400"):
        client.list_artifacts(run_id, "../..")
    with pytest.raises((MlflowException, requests.HTTPError)):
        mlflow.artifacts.download_artifacts("mlflow-artifacts:/0/../../registry.db")
