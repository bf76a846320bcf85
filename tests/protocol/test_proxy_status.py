"""Proxy-Status: which proxy of a chain failed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.protocol.proxy_status import MEMBERS_MAX, ProxyStatus, parse_proxy_status


def test_the_members_of_a_chain_begin_at_the_target() -> None:
    value = b'far; error=connection_refused; details="10.0.0.1: \\"refused\\", twice", near;received-status=502, "the last one"'
    far, near, last = parse_proxy_status(value)
    assert (far.name, far.error, far.details) == ("far", "connection_refused", '10.0.0.1: "refused", twice')
    assert (near.name, near.error, last.name) == ("near", "", "the last one")


@pytest.mark.parametrize("value", [b"", b" ", b"a; error=Not-A-Token", b"a; error", b'"unfinished', b"a;;", b"a b"])
def test_an_invalid_field_reports_no_error(value: bytes) -> None:
    assert [member.error for member in parse_proxy_status(value) if member.error] == []


def test_members_and_details_are_bounded_and_printable() -> None:
    members = parse_proxy_status(b", ".join([b'a; details="' + b"\x1b[2Jx" * 1000 + b'"'] * 100))
    assert len(members) == MEMBERS_MAX
    assert all(member.details.isprintable() and len(member.details) <= 200 for member in members)


@given(st.text(max_size=40), st.sampled_from(["", "dns_error", "connection_refused"]), st.text(max_size=60))
def test_a_member_survives_its_text_form(name: str, error: str, details: str) -> None:
    first = ProxyStatus(name, error, details)
    (again,) = parse_proxy_status(str(first).encode("latin-1"))
    assert str(again) == str(first)


@given(st.binary(max_size=300))
def test_noise_is_bounded(value: bytes) -> None:
    assert len(parse_proxy_status(value)) <= MEMBERS_MAX
