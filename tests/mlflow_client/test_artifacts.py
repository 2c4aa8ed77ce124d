"""Files of runs, through the server."""

import json
import os

import mlflow
import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository


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


@pytest.fixture
def in_parts(monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(1 << 20))
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(5 << 20))


def test_a_large_file_goes_in_parts(client, run_id, in_parts, tmp_path, monkeypatch):
    sent = []
    upload_part = HttpArtifactRepository._upload_part

    def counted(credential, *args, **kwargs):
        sent.append(credential.part_number)
        return upload_part(credential, *args, **kwargs)

    monkeypatch.setattr(HttpArtifactRepository, "_upload_part", staticmethod(counted))
    content = os.urandom((12 << 20) + 7)
    (tmp_path / "large ä.bin").write_bytes(content)
    (tmp_path / "small.bin").write_bytes(b"x")
    client.log_artifact(run_id, str(tmp_path / "large ä.bin"), "models/a")
    client.log_artifact(run_id, tmp_path / "small.bin", "models/a")
    assert sorted(sent) == [1, 2, 3]
    listed = client.list_artifacts(run_id, "models/a")
    assert [(f.path, f.file_size) for f in listed] == [
        ("models/a/large ä.bin", len(content)),
        ("models/a/small.bin", 1),
    ]
    (tmp_path / "out").mkdir()
    local = client.download_artifacts(run_id, "models/a", str(tmp_path / "out"))
    with open(os.path.join(local, "large ä.bin"), "rb") as file:
        assert file.read() == content


def test_a_failed_upload_in_parts_leaves_nothing(client, run_id, in_parts, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("broken")

    monkeypatch.setattr(HttpArtifactRepository, "_upload_part", staticmethod(broken))
    (tmp_path / "large.bin").write_bytes(bytes(6 << 20))
    with pytest.raises(MlflowException, match="broken"):
        client.log_artifact(run_id, str(tmp_path / "large.bin"))
    assert client.list_artifacts(run_id) == []


def test_parts_are_announced_where_the_store_takes_them(client, server, run_id):
    info = requests.get(f"{server}/api/3.0/mlflow/server-info").json()
    repo = get_artifact_repository(client.get_run(run_id).info.artifact_uri)
    assert info["multipart_uploads_enabled"] is repo._is_multipart_upload_enabled()
    assert info["multipart_downloads_enabled"] is repo._is_multipart_download_enabled()


def test_downloads_in_parts_fall_back(client, run_id, tmp_path, monkeypatch):
    client.log_text(run_id, "text", "a.txt")
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")
    local = client.download_artifacts(run_id, "a.txt", str(tmp_path))
    with open(local) as file:
        assert file.read() == "text"


def test_files_and_folders_are_deleted(client, run_id):
    for path in ("a.txt", "folder/b.txt", "folder/sub/c.txt"):
        client.log_text(run_id, "text", path)
    repo = get_artifact_repository(client.get_run(run_id).info.artifact_uri)
    repo.delete_artifacts("folder")
    assert [f.path for f in client.list_artifacts(run_id)] == ["a.txt"]
    repo.delete_artifacts("a.txt")
    assert client.list_artifacts(run_id) == []


@pytest.mark.parametrize(
    ("header", "status", "content"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=10-", 416, None),
    ],
)
def test_parts_of_files_are_read(client, server, run_id, header, status, content):
    client.log_text(run_id, "0123456789", "a.txt")
    answer = requests.get(
        f"{server}/get-artifact",
        params={"run_id": run_id, "path": "a.txt"},
        headers={"Range": header},
    )
    assert answer.status_code == status
    assert content is None or answer.content == content


def test_a_foreign_folder_is_no_location(client, name):
    with pytest.raises(MlflowException, match="artifact location"):
        client.create_experiment(name, artifact_location="file:///etc")
    experiment = client.create_experiment(name, artifact_location="s3://bucket/a")
    run = client.create_run(experiment)
    assert run.info.artifact_uri == f"s3://bucket/a/{run.info.run_id}/artifacts"
