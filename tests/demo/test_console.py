"""Output of the demo: only the URL and requests on stdout for programs, working commands for users."""

from dataclasses import replace

import pytest

from portway.agent.events import Connecting, RequestLine
from portway.demo.console import DemoUp, TextConsole, ready_lines
from portway.telemetry.line_writer import LineWriter
from portway.telemetry.terminal import Style

URL = "http://demo.localhost:8080"
JOIN_FILE = "/tmp/portway-demo-x/join"
UP = DemoUp(URL, "127.0.0.1:8080", "127.0.0.1:3000", JOIN_FILE)


def test_without_a_terminal_stdout_has_the_url_then_requests(capfd: pytest.CaptureFixture[str]) -> None:
    out, notes = LineWriter(1), LineWriter(2)
    console = TextConsole(out, notes)
    console.begin()
    console.ready(UP)
    console.event(Connecting("127.0.0.1:4443"))
    console.event(RequestLine("GET", "/trace", 200, 0.002, 1))
    console.end("SIGTERM")
    out.close()
    notes.close()
    output = capfd.readouterr()
    assert output.out.splitlines()[0] == URL
    assert output.out.splitlines()[1].startswith("GET /trace 200")
    assert len(output.out.splitlines()) == 2
    assert "curl" in output.err
    assert "SIGTERM" in output.err


def test_the_first_lines_have_commands_and_no_secret() -> None:
    text = "\n".join(ready_lines(UP, Style(colours=False)))
    assert f"curl {URL}/trace" in text
    assert f"--join-file {JOIN_FILE}" in text
    assert "portway://" not in text
    assert "\x1b" not in text


def test_the_https_url_is_shown_where_there_is_one() -> None:
    up = replace(UP, https_url="https://demo.localhost:8443", ca_file="/tmp/portway-demo-x/server/dev-ca.pem")
    text = "\n".join(ready_lines(up, Style(colours=False)))
    assert "  https://demo.localhost:8443\n" in text
    assert "curl --cacert /tmp/portway-demo-x/server/dev-ca.pem https://demo.localhost:8443/trace" in text
    assert "https://" not in "\n".join(ready_lines(UP, Style(colours=False)))
