"""What a client gets for each error of the edge."""

import pytest

from portway.forward.http.failures import _TEXTS, code_of, failure_of
from portway.forward.negotiation.http_responses import failure_response
from portway.forward.outcomes import NAMES, Failure, Outcome
from portway.protocol.http1.error_responses import ERROR_RESPONSES


@pytest.mark.parametrize("code", ERROR_RESPONSES)
def test_every_code_of_the_edge_becomes_a_response(code: str) -> None:
    failure = failure_of(code, "a.example:80", "a detail")
    response = failure_response(failure)
    status = 502 if code == "agent_offline" else ERROR_RESPONSES[code].status
    assert response.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nProxy-Status: portway; error=" in response
    assert "{" not in failure.text


def test_texts_exist_for_known_codes_only() -> None:
    assert _TEXTS.keys() <= ERROR_RESPONSES.keys()


@pytest.mark.parametrize("outcome", Outcome)
def test_a_failure_survives_the_edge(outcome: Outcome) -> None:
    failure = Failure(outcome, "A text.")
    found = failure_of(code_of(failure), "host", failure.text)
    assert found == failure
    assert found.names == NAMES[outcome]
