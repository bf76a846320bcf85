"""Log lines have a message and fields, and are masked at the sink."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from portway.telemetry.line_writer import LineWriter
from portway.telemetry.logs import Log, LogSink, get_log, secrets_mask

Lines = Callable[[], list[str]]


@contextmanager
def sink(form: str, level: str = "info") -> Iterator[Lines]:
    """Yield a function that ends logging and returns the lines."""
    ours, theirs = os.pipe()
    writer = LineWriter(theirs)

    def close_and_read() -> list[str]:
        writer.close()
        os.close(theirs)
        with os.fdopen(ours, "r") as reader:
            return reader.read().splitlines()

    with LogSink(writer, level, form="json" if form == "json" else "human"):
        yield close_and_read


@pytest.fixture
def log() -> Log:
    return get_log("portway.test", session="s1")


def test_a_text_line_has_time_level_message_and_fields(log: Log) -> None:
    with sink("human") as lines_of:
        log.bind(agent="laptop").info("tunnel claimed", url="http://a b", seconds=0.12345678, count=3)
        lines = lines_of()

    assert lines[0][8:] == ' info    tunnel claimed session=s1 agent=laptop url="http://a b" seconds=0.123457 count=3 [portway.test]'


def test_a_json_line_has_the_same_fields(log: Log) -> None:
    with sink("json") as lines_of:
        log.warning("link lost", reason=OSError("gone"), bytes=7)
        (line,) = lines_of()

    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {"level": "warning", "message": "link lost", "logger": "portway.test", "session": "s1", "reason": "gone", "bytes": 7}


def test_fields_cannot_forge_a_second_line_or_colour_the_terminal(log: Log) -> None:
    with sink("human") as lines_of:
        log.info("odd\nname", path="/x\r\n12:00:00 error all is lost \x1b[2J")
        lines = lines_of()

    assert len(lines) == 1
    assert "\x1b" not in lines[0]


def test_secrets_never_reach_the_sink_not_even_in_tracebacks(log: Log) -> None:
    secrets_mask.hide("hunter2hunter2")
    for form in ("human", "json"):
        with sink(form) as lines_of:
            try:
                raise ValueError("portway://id.hunter2hunter2@h:1 and hunter2hunter2")
            except ValueError as exc:
                log.error("login failed", exc=exc, token="hunter2hunter2")
            text = "\n".join(lines_of())

        assert "hunter2" not in text
        assert "Traceback" in text
        assert form != "json" or "Traceback" in json.loads(text)["traceback"]
        assert "portway://id.•••@h:1" in text


def test_levels_apply_to_own_loggers_and_others_log_from_warning(log: Log) -> None:
    with sink("human", level="debug") as lines_of:
        log.debug("detail")
        logging.getLogger("someone.else").info("chatter")
        logging.getLogger("someone.else").warning("trouble")
        lines = lines_of()

    assert "detail" in lines[0]
    assert "trouble" in lines[1]
    assert len(lines) == 2


def test_a_field_that_cannot_be_printed_does_not_fail_the_caller(log: Log) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with sink("human") as lines_of:
        log.info("odd", value=Broken())
        lines = lines_of()

    assert lines == ["cannot write a log line of portway.test: RuntimeError('no text')"]
