"""Webhooks: kept, changed, listed, deleted, and received by a real receiver."""

import base64
import hashlib
import hmac
import http.server
import json
import queue
import threading

import pytest
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookStatus
from mlflow.exceptions import MlflowException
from servers import serve

# A public address without a name to resolve; what no other check does, so that nothing is sent.
URL = "https://1.1.1.1/hook"
EVENTS = ["prompt_tag.deleted", "prompt_version_tag.deleted"]


@pytest.fixture
def webhook(client, name):
    hook = client.create_webhook(
        name=name, url=URL, events=EVENTS, description="tells", secret="s3cret"
    )
    yield hook
    try:
        client.delete_webhook(hook.webhook_id)
    except MlflowException:
        pass


def test_a_webhook_is_kept(client, name, webhook):
    read = client.get_webhook(webhook.webhook_id)
    assert (read.name, read.url, read.description) == (name, URL, "tells")
    assert [str(event) for event in read.events] == [str(event) for event in webhook.events]
    assert len(read.events) == 2 and read.status == WebhookStatus.ACTIVE
    assert not read.secret, "a secret never leaves the server"


def test_a_webhook_is_changed_and_deleted(client, webhook):
    changed = client.update_webhook(webhook.webhook_id, status="DISABLED", description="silent")
    assert (changed.status, changed.description) == (WebhookStatus.DISABLED, "silent")
    assert len(changed.events) == 2
    client.delete_webhook(webhook.webhook_id)
    with pytest.raises(MlflowException) as error:
        client.get_webhook(webhook.webhook_id)
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_webhooks_are_listed_over_pages(client, name):
    ids = set()
    for i in range(3):
        hook = client.create_webhook(f"{name}-{i}", URL, EVENTS)
        ids.add(hook.webhook_id)
    found, token = set(), None
    while True:
        page = client.list_webhooks(max_results=2, page_token=token)
        assert len(page) <= 2
        found |= {hook.webhook_id for hook in page}
        token = page.token
        if not token:
            break
    assert ids <= found
    for hook in ids:
        client.delete_webhook(hook)


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "https://10.0.0.1/x", "ftp://example.com", "x"])
def test_addresses_of_this_machine_are_refused(client, name, url):
    with pytest.raises(MlflowException) as error:
        client.create_webhook(name, url, EVENTS)
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_webhook_needs_events(client, name):
    with pytest.raises(MlflowException):
        client.create_webhook(name, URL, [])


@pytest.fixture
def sender(target, tmp_path):
    """A client of a server that may send to this machine, which the others' must not."""
    allowed = {"MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true", "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http"}
    with serve(target, tmp_path, **allowed) as url:
        yield MlflowClient(url, registry_uri=url)


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
    server.server_close()


def test_messages_are_signed(sender, name, receiver):
    url, messages = receiver
    webhook = sender.create_webhook(
        name="hook", url=url, events=["registered_model.created"], secret="s3cret"
    )
    sender.create_registered_model(name, tags={"a": "b"}, description="d")
    headers, body = messages.get(timeout=30)
    content = f"{headers['X-MLflow-Delivery-Id']}.{headers['X-MLflow-Timestamp']}.{body.decode()}"
    digest = hmac.new(b"s3cret", content.encode(), hashlib.sha256).digest()
    assert headers["X-MLflow-Signature"] == f"v1,{base64.b64encode(digest).decode()}"
    message = json.loads(body)
    assert (message["entity"], message["action"]) == ("registered_model", "created")
    assert message["data"] == {"name": name, "tags": {"a": "b"}, "description": "d"}
    result = sender.test_webhook(webhook.webhook_id)
    assert (result.success, result.response_status) == (True, 200)
    sender.delete_webhook(webhook.webhook_id)
