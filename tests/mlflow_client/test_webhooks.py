"""Webhooks: kept, changed, listed, deleted. What they send is tested without MLflow's client."""

import pytest
from mlflow.entities.webhook import WebhookStatus
from mlflow.exceptions import MlflowException

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
