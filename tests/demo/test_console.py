"""What the demo says can be used as it stands: a URL alone for programs, commands that run for people."""

from pathlib import Path

import pytest

from portway.agent.events import Connecting, RequestLine
from portway.demo.console import WordsConsole, ready_lines
from portway.telemetry.line_writer import LineWriter
from portway.telemetry.terminal import Style

URL = "http://demo.localhost:8080"
JOIN_FILE = Path("/tmp/portway-demo-x/join")


def test_not_on_a_terminal_stdout_is_the_url_then_requests(capfd: pytest.CaptureFixture[str]) -> None:
    out, notes = LineWriter(1), LineWriter(2)
    console = WordsConsole(out, notes)
    console.begin()
    console.ready(URL, "127.0.0.1:8080", "127.0.0.1:3000", JOIN_FILE)
    console.event(Connecting("127.0.0.1:4443"))
    console.event(RequestLine("GET", "/trace", 200, 0.002, 1))
    console.end("SIGTERM")
    out.close()
    notes.close()
    said = capfd.readouterr()
    assert said.out.splitlines()[0] == URL
    assert said.out.splitlines()[1].startswith("GET /trace 200")
    assert len(said.out.splitlines()) == 2
    assert "curl" in said.err
    assert "SIGTERM" in said.err


def test_the_hints_name_the_commands_and_no_secret() -> None:
    text = "\n".join(ready_lines(URL, ("127.0.0.1:8080", "127.0.0.1:3000"), JOIN_FILE, Style(colours=False)))
    assert f"curl {URL}/trace" in text
    assert f"--join-file {JOIN_FILE}" in text
    assert "portway://" not in text
    assert "\x1b" not in text
