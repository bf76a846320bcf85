"""`portway logs`, `replay` and `inspect` with a running agent: `portway.cli.logs`, `portway.cli.replay`, `portway.cli.inspect` and
`portway.cli.inspector_client`."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portway.cli.inspect import has_display
from portway.cli.inspector_client import running_inspectors
from portway.cli.logs import line_of
from portway.cli.main import run
from tests.kit.inspected import Inspected, RecordingOrigin, inspected
from tests.kit.programs import SOURCES, Program

CANARY = "CANARY7f3a91d2"


@pytest.fixture
def origin() -> Iterator[RecordingOrigin]:
    with RecordingOrigin() as origin:
        yield origin


@pytest.fixture
def world(tmp_path: Path, origin: RecordingOrigin, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inspected]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PORTWAY_DATA", str(tmp_path))
    (tmp_path / "portway").mkdir(mode=0o700)
    with inspected(tmp_path, origin.port, runtime_dir=tmp_path / "portway") as world:
        world.visit("POST", f"/pay?token={CANARY}", b"a=1", {"X-Api-Key": CANARY})
        world.visit("GET", "/red")
        world.requests(2)
        yield world


def test_logs_are_lines_oldest_first(world: Inspected, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logs"]) == 0
    first, second = capsys.readouterr().out.splitlines()

    assert first.split()[0] == "1"
    assert "POST" in first
    assert first.endswith("/pay?token=***")
    assert second.endswith("/red")
    assert run(["logs", "method:POST", "status:200", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["target"] == "/pay?token=***"
    assert run(["logs", "-n", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [second]


def test_lines_have_no_control_characters() -> None:
    row: dict[str, object] = {"id": 1, "started_at": 1.0, "duration_ms": None, "method": "\x1b", "kind": "http", "status": 0, "response_bytes": 0, "replay_of": 7,
           "messages": 0, "error": "\n", "target": "/\x1b[31m\u202e", "tunnel": "\r"}  # fmt: skip

    assert line_of(row).isprintable()


def test_logs_with_an_invalid_query_or_without_captures(world: Inspected, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logs", "colour:red"]) == 2
    assert "query: unknown key 'colour'" in capsys.readouterr().err
    assert run(["logs", "--data", str(tmp_path / "other")]) == 2
    assert "nothing was captured yet" in capsys.readouterr().err


def test_logs_follow_new_requests(world: Inspected) -> None:
    environment = os.environ | {"PYTHONPATH": str(SOURCES)}
    with Program([sys.executable, "-m", "portway", "logs", "-f", "-n", "1", "method:GET"], env=environment, name="logs") as program:
        program.expect("/red")
        world.visit("POST", path="/other")
        world.visit(path="/later")
        program.expect("/later")
        program.process.send_signal(signal.SIGINT)
        done = program.wait()

    assert (done.code, len(done.out.splitlines())) == (0, 2)


def test_a_replay_is_byte_equal_and_its_edits_are_applied(
    world: Inspected, origin: RecordingOrigin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["replay", "1"]) == 0
    assert capsys.readouterr().out == "request 1 sent again as 3: 200\n"
    assert origin.requests[2] == origin.requests[0]

    (tmp_path / "body").write_bytes(b"\x00\xff")
    options = ["--method", "PUT", "--header", "X-New: 1", "--header", "X-Api-Key:", "--data", f"@{tmp_path / 'body'}"]
    assert run(["replay", "1", *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"id": 4, "status": 200, "error": ""}
    assert origin.requests[3].startswith(f"PUT /pay?token={CANARY} HTTP/1.1\r\n".encode())
    assert origin.requests[3].endswith(b"Content-Length: 2\r\n\r\n\x00\xff")
    assert b"X-Api-Key" not in origin.requests[3]


def test_a_replay_is_edited_in_an_editor(
    world: Inspected, origin: RecordingOrigin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/a=1/b=22/; s/POST/PUT/" "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))

    assert run(["replay", "1", "--edit"]) == 0
    sent = origin.requests[2]
    assert sent.startswith(f"PUT /pay?token={CANARY} HTTP/1.1".encode())
    assert f"X-Api-Key: {CANARY}".encode() in sent
    assert sent.endswith(b"\r\n\r\nb=22")
    editor.write_text('#!/bin/sh\n: > "$1"\n')
    assert run(["replay", "1", "--edit"]) == 1
    assert "nothing was sent" in capsys.readouterr().err


def test_errors_of_replays(world: Inspected, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, text in (
        (["99"], 3, "no exchange 99"),
        (["1", "--header", "none"], 2, "--header: invalid field"),
        (["1", "--to", "ftp://a"], 3, "to: 'ftp://a': unsupported scheme"),
        (["1", "--edit", "--method", "PUT"], 2, "--edit: cannot be combined"),
        (["1", "--data", "@/nonexistent"], 2, "--data: /nonexistent"),
    ):
        assert run(["replay", *arguments]) == code, arguments
        assert text in capsys.readouterr().err


def test_inspect_prints_the_address(world: Inspected, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect"]) == 0
    assert capsys.readouterr().out == f"{world.inspector.page_url}\n"
    assert run(["inspect", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["page_url"] == world.inspector.page_url


def test_without_an_agent_there_is_a_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "portway").mkdir(mode=0o700)
    dead = tmp_path / "portway" / "inspector-999999999.json"
    dead.touch(mode=0o600)
    dead.write_text('{"pid": 999999999, "url": "http://127.0.0.1:1/", "key": "k"}')

    assert (run(["inspect"]), run(["replay", "1"])) == (1, 1)
    assert capsys.readouterr().err.count("start one with `portway http TARGET --inspect 4040`") == 2
    assert run(["inspect", "--json"]) == 1
    assert running_inspectors(tmp_path / "portway") == []
    assert not dead.exists()


def test_a_browser_needs_a_display() -> None:
    assert has_display({"DISPLAY": ":0"}, "linux")
    assert not has_display({}, "linux")
    assert has_display({}, "darwin")
