"""The Connection field."""

import pytest

from portway.protocol.http1.connection import connection_options, keeps_alive, without_nominated
from portway.protocol.http1.errors import MessageError


@pytest.mark.parametrize(
    ("value", "options"),
    [
        (None, set()),
        (b"", set()),
        (b"close", {b"close"}),
        (b"Keep-Alive", {b"keep-alive"}),
        (b" ,close ,\tX-a, ", {b"close", b"x-a"}),
        (b"close\nUpgrade", {b"close", b"upgrade"}),
    ],
)
def test_options_are_a_list_of_tokens(value: bytes | None, options: set[bytes]) -> None:
    assert connection_options(value) == options


@pytest.mark.parametrize("value", [b"a b", b"a;b", b'"a"', b"\xe4", b"a/b"])
def test_a_member_that_is_not_a_token_is_refused(value: bytes) -> None:
    with pytest.raises(MessageError):
        connection_options(value)


def test_nominated_fields_are_removed_in_any_case() -> None:
    fields = [(b"X-A", b"1"), (b"x-a", b"2"), (b"B", b"3")]
    assert without_nominated(fields, frozenset({b"x-a", b"close"})) == [(b"B", b"3")]
    assert without_nominated(fields, frozenset({b"close", b"upgrade"})) == fields


@pytest.mark.parametrize(
    ("options", "version", "keeps"),
    [(set(), 11, True), (set(), 10, False), ({b"close"}, 11, False), ({b"keep-alive"}, 10, True), ({b"keep-alive", b"close"}, 10, False)],
)
def test_close_wins(options: set[bytes], version: int, keeps: bool) -> None:
    assert keeps_alive(frozenset(options), version) is keeps
