import builtins
import time
from typing import Any

import pytest

from portway.errors import ConfigError
from portway.forward.policy.regexes import EXPRESSION_CHARS_MAX, Expression


@pytest.mark.parametrize("text", ["(", "[", "a**", "(?=a)", r"(a)\1", "(a{1,1000}){1,1000}", "x" * (EXPRESSION_CHARS_MAX + 1), "\udcff"])
def test_an_invalid_or_unbounded_expression_is_refused(text: str) -> None:
    pytest.importorskip("re2")
    with pytest.raises(ConfigError, match="regular expression .*expected"):
        Expression(text)


def test_flags_in_the_middle_of_an_expression_work_as_in_http_tunnel() -> None:
    pytest.importorskip("re2")
    expression = Expression(r"^(?i)([a-z]+)\.(wikipedia|rust-lang)\.org:443$", whole=False)

    assert expression.matches("EN.wikipedia.org:443")
    assert not expression.matches("en.wikipedia.org:80")


@pytest.mark.parametrize("text", ["(a*)*b", "(a|a)*b", "(a+)+b", "(.*a){20}b", "(a?){200}a{200}b"])
def test_no_expression_takes_more_than_linear_time(text: str) -> None:
    """A backtracking matcher needs longer than the universe for most of these."""
    pytest.importorskip("re2")
    expression = Expression(text)
    begun = time.monotonic()

    assert not expression.matches("a" * 253 + ":443")
    assert time.monotonic() - begun < 5


def test_without_re2_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The import fails as it does where the package is not installed."""
    original = builtins.__import__

    def without_re2(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "re2":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_re2)
    with pytest.raises(ConfigError, match=r"pip install 'portway\[proxy\]'"):
        Expression("a")
