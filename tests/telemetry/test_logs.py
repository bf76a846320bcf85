"""Log lines are facts with fields, masked at the sink."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from portway.telemetry.line_writer import LineWriter
from portway.telemetry.logs import Log, LogSink, get_log, secrets_mask

Told = Callable[[], list[str]]


@contextmanager
def sink(form: str, level: str = "info") -> Iterator[Told]:
    """Yield a function that ends logging and returns the lines."""
    ours, theirs = os.pipe()
    writer = LineWriter(theirs)

    def told() -> list[str]:
        writer.close()
        os.close(theirs)
        with os.fdopen(ours, "r") as reader:
            return reader.read().splitlines()

    with LogSink(writer, level, form="json" if form == "json" else "human"):
        yield told


@pytest.fixture
def log() -> Log:
    return get_log("portway.test", session="s1")


def test_a_line_for_people_has_time_level_what_and_facts(log: Log) -> None:
    with sink("human") as told:
        log.bind(agent="laptop").info("tunnel claimed", url="http://a b", seconds=0.12345678, count=3)
        lines = told()

    assert lines[0][8:] == ' info    tunnel claimed session=s1 agent=laptop url="http://a b" seconds=0.123457 count=3 [portway.test]'


def test_a_line_for_programs_is_json_with_the_same_facts(log: Log) -> None:
    with sink("json") as told:
        log.warning("link lost", why=OSError("gone"), bytes=7)
        (line,) = told()

    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {"level": "warning", "what": "link lost", "logger": "portway.test", "session": "s1", "why": "gone", "bytes": 7}


def test_nobody_can_forge_a_second_line_or_colour_the_terminal(log: Log) -> None:
    with sink("human") as told:
        log.info("odd\nname", path="/x\r\n12:00:00 error all is lost \x1b[2J")
        lines = told()

    assert len(lines) == 1
    assert "\x1b" not in lines[0]


def test_secrets_never_reach_the_sink_not_even_in_tracebacks(log: Log) -> None:
    secrets_mask.hide("hunter2hunter2")
    for form in ("human", "json"):
        with sink(form) as told:
            try:
                raise ValueError("portway://id.hunter2hunter2@h:1 and hunter2hunter2")
            except ValueError as exc:
                log.error("login failed", exc=exc, token="hunter2hunter2")
            text = "\n".join(told())

        assert "hunter2" not in text
        assert "Traceback" in text
        assert "portway://id.•••@h:1" in text


def test_levels_are_for_our_own_loggers_and_others_speak_from_warning_on(log: Log) -> None:
    with sink("human", level="debug") as told:
        log.debug("detail")
        logging.getLogger("someone.else").info("chatter")
        logging.getLogger("someone.else").warning("trouble")
        lines = told()

    assert "detail" in lines[0]
    assert "trouble" in lines[1]
    assert len(lines) == 2


def test_a_fact_that_cannot_be_printed_is_not_the_callers_problem(log: Log) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with sink("human") as told:
        log.info("odd", value=Broken())
        lines = told()

    assert lines == ["a log line of portway.test could not be written: RuntimeError('no text')"]
