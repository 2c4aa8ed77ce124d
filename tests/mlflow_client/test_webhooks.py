"""Webhooks: managed by the client, received and verified by a real receiver."""

import base64
import hashlib
import hmac
import http.server
import json
import queue
import threading

import pytest
from mlflow.entities.webhook import WebhookEvent
from mlflow.exceptions import MlflowException


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


def test_webhooks_are_managed(client, receiver):
    url, _ = receiver
    events = [WebhookEvent("registered_model", "created"), "model_version.created"]
    webhook = client.create_webhook(name="hook", url=url, events=events, secret="s3cret")
    assert webhook.status == "ACTIVE" and webhook.url == url
    assert {str(e) for e in webhook.events} == {
        "registered_model.created",
        "model_version.created",
    }
    changed = client.update_webhook(webhook.webhook_id, description="d", status="DISABLED")
    assert (changed.description, str(changed.status)) == ("d", "DISABLED")
    assert client.get_webhook(webhook.webhook_id).description == "d"
    assert webhook.webhook_id in [w.webhook_id for w in client.list_webhooks()]
    client.delete_webhook(webhook.webhook_id)
    with pytest.raises(MlflowException) as error:
        client.get_webhook(webhook.webhook_id)
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"


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


def test_bad_webhooks_are_refused(client):
    for arguments in [
        {"name": "-hook", "url": "http://127.0.0.1/"},
        {"name": "hook", "url": "ftp://127.0.0.1/"},
    ]:
        with pytest.raises(MlflowException) as error:
            client.create_webhook(events=["prompt.created"], **arguments)
        assert error.value.error_code == "INVALID_PARAMETER_VALUE"
