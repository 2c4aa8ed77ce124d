"""Whatever fits the OpenAPI description, and much that does not, is answered as it promises."""

import itertools
import random
import time

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import GenerationMode
from servers import FORESHOCK, serve

# A stream that does not end by itself.
STREAMS = {"/api/2.0/foreshock/events"}
EXAMPLES = 3
SECONDS = 50


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    """A server of its own: what comes here deletes everything."""
    with serve(FORESHOCK, tmp_path_factory.mktemp("fuzzed")) as url:
        yield url


def judge(response):
    """No fault of the server, and every refusal is one that clients can read."""
    status, method = response.status_code, response.request.method
    what = f"{method} {response.request.url} {response.request.body!r}: {status} {response.text}"
    assert status < 500 or status == 501, what
    if status >= 400:
        answer = response.json()
        assert isinstance(answer["error_code"], str), what
        assert isinstance(answer["message"], str), what


def attack(operation, mode, send):
    """Gives `send` some requests to an operation: what it describes, or almost that."""

    @hypothesis.seed(20)
    @hypothesis.settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def run(case):
        send(case)

    try:
        run()
    except hypothesis.errors.Unsatisfiable:
        # There is nothing to get wrong in a request that takes nothing.
        assert mode is GenerationMode.NEGATIVE, operation.label


def test_no_request_breaks_the_server(fuzzed):
    document = requests.get(f"{fuzzed}/api/openapi.json", timeout=10).json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=fuzzed)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 80
    end = time.monotonic() + SECONDS
    session, sent = requests.Session(), set()

    def send(case):
        sent.add(case.operation.label)
        judge(case.call(session=session, timeout=10))

    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    attacks = list(itertools.product(operations, modes))
    random.Random(20).shuffle(attacks)
    for operation, mode in attacks:
        # A slow machine sends less, and says nothing else.
        if operation.path not in STREAMS and time.monotonic() < end:
            attack(operation, mode, send)
    assert len(sent) > 40
    assert requests.get(f"{fuzzed}/readyz", timeout=10).status_code == 200
