"""What a forward proxy prints."""

import json

from portway.engine.tally import Flow
from portway.forward.console import Console, json_console
from portway.forward.events import ClientDone, ForwardEvent, Listening, Notice, Stopping
from portway.forward.outcomes import Outcome
from portway.telemetry.terminal import Style

FLOW = Flow(1500, 3, "ended", 1.0)
DONE = ClientDone("ab", Outcome.ESTABLISHED, "socks5", 2.0, FLOW, FLOW, "idle", "example.org:443", "ada")
REFUSED = ClientDone("ab", Outcome.FORBIDDEN, "http", 0.001, None, None, "")


def printed(*events: ForwardEvent) -> str:
    lines: list[str] = []
    console = Console(lines.append, Style(False))
    for event in events:
        console(event)
    return "\n".join(lines)


def test_the_address_comes_with_a_command_to_try() -> None:
    assert "curl -x http://127.0.0.1:8080 https://example.org/" in printed(Listening("127.0.0.1:8080", tls=False, users=True))
    assert "curl -x https://" in printed(Listening("127.0.0.1:8080", tls=True, users=True))
    assert "all programs that can reach this address can use it" in printed(Listening("127.0.0.1:8080", tls=False, users=False))
    assert "every client is connected to db:5432" in printed(Listening("127.0.0.1:1", tls=False, users=False, destination="db:5432"))


def test_a_tunnel_is_one_line() -> None:
    assert printed(DONE) == "socks5 200 established  1.46 KiB up, 1.46 KiB down, 2s, idle  example.org:443"
    assert printed(REFUSED) == "http   403 forbidden  1ms"
    assert printed(Notice("careful\x1b"), Stopping(0), Stopping(1)) == "careful\\x1b\nstopping: 1 tunnel may finish"


def test_json_has_every_field() -> None:
    lines: list[str] = []
    json_console(lines.append, lambda: 0.0)(DONE)
    found = json.loads(lines[0])
    assert (found["event"], found["result"], found["tunnel_ctx"]) == ("client_done", "established", "ab")
    assert found["upstream_stats"] == {"total_bytes": 1500, "event_count": 3, "shutdown_reason": "ended", "duration": 1.0}
