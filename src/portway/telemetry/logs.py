"""Logs as facts with fields, on the standard library: one line each on stderr, for people or as JSON."""

import datetime as dt
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Literal, Self

from portway.telemetry.event_lines import json_line, timestamp
from portway.telemetry.line_writer import LineWriter
from portway.telemetry.secrets_mask import SecretsMask
from portway.telemetry.terminal import escape

LEVELS = ("debug", "info", "warning", "error")

ROOT = "portway"
"""Loggers below this one follow the chosen level; other packages speak only from `warning` on."""

secrets_mask = SecretsMask()
"""Everything that this process logs goes through this; hide a secret here as soon as it is known."""


class Log:
    """Says what happened as a short noun phrase, with the facts beside it: `log.info("tunnel claimed", url=url)`."""

    __slots__ = ("_facts", "_logger")

    def __init__(self, logger: logging.Logger, facts: Mapping[str, object]) -> None:
        """Use `get_log`."""
        self._logger = logger
        self._facts = dict(facts)

    def bind(self, **facts: object) -> "Log":
        """Return a log that adds these facts to every line."""
        return Log(self._logger, {**self._facts, **facts})

    def debug(self, what: str, **facts: object) -> None:
        """Tell a detail for whoever looks for a fault."""
        self._tell(logging.DEBUG, what, facts)

    def info(self, what: str, **facts: object) -> None:
        """Tell what an operator may want to know later."""
        self._tell(logging.INFO, what, facts)

    def warning(self, what: str, **facts: object) -> None:
        """Tell what an operator should look at."""
        self._tell(logging.WARNING, what, facts)

    def error(self, what: str, *, exc: BaseException | None = None, **facts: object) -> None:
        """Tell what went wrong and should not have; `exc` adds its traceback."""
        self._tell(logging.ERROR, what, facts, exc)

    def _tell(self, level: int, what: str, facts: Mapping[str, object], exc: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", what, exc_info=exc, extra={"facts": {**self._facts, **facts}})


def get_log(name: str, **facts: object) -> Log:
    """Return the log of a module (`get_log(__name__)`), with facts that every line shall have."""
    return Log(logging.getLogger(name), facts)


def human_line(record: logging.LogRecord) -> str:
    """Return a record for people: time, level, what happened, facts, and where in the code it was said."""
    clock = dt.datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
    facts = "".join(f" {key}={_shown(value)}" for key, value in _facts(record).items())
    line = f"{clock} {record.levelname.lower():7} {escape(record.getMessage())}{facts} [{record.name}]"
    return f"{line}\n{_trace(record)}" if record.exc_info else line


def json_record(record: logging.LogRecord) -> str:
    """Return a record for programs: one JSON object in one line."""
    content: dict[str, object] = {
        "time": timestamp(record.created),
        "level": record.levelname.lower(),
        "what": record.getMessage(),
        "logger": record.name,
    }
    content |= {key: value if isinstance(value, int | float | bool | None) else str(value) for key, value in _facts(record).items()}
    if record.exc_info:
        content["trace"] = _trace(record)
    return json_line(content)


class LogSink(logging.Handler):
    """Sends every log line of this process to one writer, masked and without ever blocking. A context manager."""

    def __init__(self, writer: LineWriter, level: str = "warning", *, form: Literal["human", "json"] = "human") -> None:
        """Write to `writer`, which stays the caller's; `level` is one of LEVELS and goes for Portway's own loggers."""
        super().__init__()
        self._writer = writer
        self._formed: Callable[[logging.LogRecord], str] = json_record if form == "json" else human_line
        self._portway_level = level.upper()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one line to the writer."""
        try:
            self._writer.write(secrets_mask(self._formed(record)))
        except Exception:  # noqa: BLE001 - whatever is wrong with a log line must not become the caller's problem
            self._writer.write(f"a log line of {record.name} could not be written: {sys.exc_info()[1]!r}")

    def __enter__(self) -> Self:
        """Take over logging for the whole process."""
        logging.getLogger().addHandler(self)
        logging.getLogger().setLevel(logging.WARNING)
        logging.getLogger(ROOT).setLevel(self._portway_level)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        """Let go of logging."""
        logging.getLogger().removeHandler(self)


def _facts(record: logging.LogRecord) -> Mapping[str, object]:
    facts = getattr(record, "facts", None)
    return facts if isinstance(facts, dict) else {}


def _shown(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else escape(str(value))
    return text if text and " " not in text and '"' not in text else '"' + text.replace('"', r"\"") + '"'


def _trace(record: logging.LogRecord) -> str:
    exc = record.exc_info[1] if record.exc_info else None
    return "".join(traceback.format_exception(exc)).rstrip() if exc is not None else ""
