"""Webhooks, received and verified by a real receiver."""

import base64
import hashlib
import hmac
import http.server
import json
import queue
import threading

import pytest
from mlflow import MlflowClient
from servers import FORESHOCK, serve


@pytest.fixture
def receiver():
    messages = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            messages.put((self.headers, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", messages
    server.shutdown()


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A client of a server that may send to this machine, which the others' must not."""
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")
    with serve(FORESHOCK, tmp_path) as url:
        yield MlflowClient(url, registry_uri=url)


def test_messages_are_signed(client, name, receiver):
    url, messages = receiver
    webhook = client.create_webhook(
        name="hook", url=url, events=["registered_model.created"], secret="s3cret"
    )
    client.create_registered_model(name, tags={"a": "b"}, description="d")
    headers, body = messages.get(timeout=30)
    content = f"{headers['X-MLflow-Delivery-Id']}.{headers['X-MLflow-Timestamp']}.{body.decode()}"
    digest = hmac.new(b"s3cret", content.encode(), hashlib.sha256).digest()
    assert headers["X-MLflow-Signature"] == f"v1,{base64.b64encode(digest).decode()}"
    message = json.loads(body)
    assert (message["entity"], message["action"]) == ("registered_model", "created")
    assert message["data"] == {"name": name, "tags": {"a": "b"}, "description": "d"}
    result = client.test_webhook(webhook.webhook_id)
    assert (result.success, result.response_status) == (True, 200)
    client.delete_webhook(webhook.webhook_id)
