"""Regular expressions over `host:port`, matched by RE2 in time linear in the text (ADR 0032)."""

from typing import Any, Protocol

from portway.errors import ConfigError

EXPRESSION_CHARS_MAX = 4096
"""Longer expressions are lists of hosts; a file with a host list has a million."""

MEMORY_BYTES_MAX = 1024 * 1024
"""Memory of one expression; RE2 refuses a larger program, and matches more slowly but still in linear time without space for more states."""


class _Matcher(Protocol):
    def search(self, text: str) -> object: ...

    def fullmatch(self, text: str) -> object: ...


class Expression:
    """A compiled expression."""

    __slots__ = ("_match", "text")

    def __init__(self, text: str, *, whole: bool = True) -> None:
        """Compile `text`; with `whole` it has to match all of `host:port`, otherwise a part of it is enough.

        Raises:
            ConfigError: RE2 is not installed, or the expression is invalid or too large.
        """
        self.text = text
        matcher = _compile(text)
        self._match = matcher.fullmatch if whole else matcher.search

    def matches(self, target: str) -> bool:
        """Return whether the expression matches `host:port`."""
        return self._match(target) is not None


def _compile(text: str) -> _Matcher:
    if len(text) > EXPRESSION_CHARS_MAX:
        raise ConfigError(f"regular expression too long ({len(text)} characters): expected at most {EXPRESSION_CHARS_MAX}; use a host list")
    try:
        import re2  # noqa: PLC0415 - optional: only expressions need it
    except ImportError as exc:
        raise ConfigError(
            "regular expressions require the package google-re2; run `pip install 'portway[proxy]'`, or use patterns like *.example.com"
        ) from exc
    options: Any = re2.Options()
    options.max_mem = MEMORY_BYTES_MAX
    options.log_errors = False
    options.never_capture = True
    try:
        compiled: _Matcher = re2.compile(text, options=options)
    except (re2.error, UnicodeEncodeError) as exc:
        raise ConfigError(f"invalid regular expression {text[:80]!a}: {_reason(exc)}: expected the syntax of RE2") from exc
    return compiled


def _reason(exc: Exception) -> str:
    if isinstance(exc, UnicodeEncodeError):
        return "not UTF-8"
    reason = exc.args[0] if exc.args else ""
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
