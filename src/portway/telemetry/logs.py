"""Structured logs on the standard library: one line per record on stderr, as text or JSON."""

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
"""Loggers under this name use the chosen level; those of other packages `warning`."""

secrets_mask = SecretsMask()
"""Masks all log lines of this process; register a secret here as soon as it is known."""


class Log:
    """Structured logger: a short message, and facts as fields: `log.info("tunnel claimed", url=url)`."""

    __slots__ = ("_fields", "_logger")

    def __init__(self, logger: logging.Logger, fields: Mapping[str, object]) -> None:
        """Use `get_log`."""
        self._logger = logger
        self._fields = dict(fields)

    def bind(self, **fields: object) -> "Log":
        """Return a logger that adds these fields to every line."""
        return Log(self._logger, {**self._fields, **fields})

    def debug(self, message: str, /, **fields: object) -> None:
        """Log a detail for debugging."""
        self._log(logging.DEBUG, message, fields)

    def info(self, message: str, /, **fields: object) -> None:
        """Log a normal event."""
        self._log(logging.INFO, message, fields)

    def warning(self, message: str, /, **fields: object) -> None:
        """Log an event that an operator should look at."""
        self._log(logging.WARNING, message, fields)

    def error(self, message: str, /, *, exc: BaseException | None = None, **fields: object) -> None:
        """Log a failure; `exc` adds its traceback."""
        self._log(logging.ERROR, message, fields, exc)

    def _log(self, level: int, message: str, fields: Mapping[str, object], exc: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", message, exc_info=exc, extra={"fields": {**self._fields, **fields}})


def get_log(name: str, **fields: object) -> Log:
    """Return the logger of a module (`get_log(__name__)`), with fields for every line."""
    return Log(logging.getLogger(name), fields)


def human_line(record: logging.LogRecord) -> str:
    """Return a record as text: time, level, message, fields and logger."""
    clock = dt.datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
    fields = "".join(f" {key}={_field_text(value)}" for key, value in _fields(record).items())
    line = f"{clock} {record.levelname.lower():7} {escape(record.getMessage())}{fields} [{record.name}]"
    return f"{line}\n{_traceback(record)}" if record.exc_info else line


def json_record(record: logging.LogRecord) -> str:
    """Return a record as one line of JSON."""
    content: dict[str, object] = {
        "time": timestamp(record.created),
        "level": record.levelname.lower(),
        "message": record.getMessage(),
        "logger": record.name,
    }
    content |= {key: value if isinstance(value, int | float | bool | None) else str(value) for key, value in _fields(record).items()}
    if record.exc_info:
        content["traceback"] = _traceback(record)
    return json_line(content)


class LogSink(logging.Handler):
    """Sends all log lines of this process to one writer, masked and without blocking. A context manager."""

    def __init__(self, writer: LineWriter, level: str = "warning", *, form: Literal["human", "json"] = "human") -> None:
        """Write to `writer`, which the caller still owns; `level`, one of LEVELS, applies to Portway's own loggers."""
        super().__init__()
        self._writer = writer
        self._format_line: Callable[[logging.LogRecord], str] = json_record if form == "json" else human_line
        self._portway_level = level.upper()

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one line to the writer."""
        try:
            self._writer.write(secrets_mask(self._format_line(record)))
        except Exception:  # noqa: BLE001 - a log line that cannot be formatted must not fail the caller
            self._writer.write(f"cannot write a log line of {record.name}: {sys.exc_info()[1]!r}")

    def __enter__(self) -> Self:
        """Install the handler for the whole process."""
        logging.getLogger().addHandler(self)
        logging.getLogger().setLevel(logging.WARNING)
        logging.getLogger(ROOT).setLevel(self._portway_level)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        """Remove the handler."""
        logging.getLogger().removeHandler(self)


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


def _field_text(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else escape(str(value))
    return text if text and " " not in text and '"' not in text else '"' + text.replace('"', r"\"") + '"'


def _traceback(record: logging.LogRecord) -> str:
    exc = record.exc_info[1] if record.exc_info else None
    return "".join(traceback.format_exception(exc)).rstrip() if exc is not None else ""
