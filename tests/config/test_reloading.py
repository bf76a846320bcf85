"""Requests to read files again."""

from portway.config.reloading import ReloadRequests


def test_a_request_reaches_every_receiver_that_is_there() -> None:
    requests, calls = ReloadRequests(), list[str]()
    requests.request()
    with requests.received_by(lambda: calls.append("one")):
        with requests.received_by(lambda: calls.append("two")):
            requests.request()
        requests.request()
    requests.request()

    assert calls == ["one", "two", "one"]
