"""docs/wire.md names everything that is on the wire."""

import re
from pathlib import Path
from typing import get_args

import pytest

from portway.protocol.control import codes
from portway.protocol.control.framing import POST_LOGIN_BYTES_MAX, PRE_LOGIN_BYTES_MAX
from portway.protocol.control.messages import PROTOCOL_VERSION, FromAgent, FromServer, Limits
from portway.protocol.proxy_header import HEADER_BYTES_MAX
from portway.protocol.scram import ITERATIONS, ITERATIONS_MAX
from portway.protocol.stream_status import StreamStatus
from tests.vectors.make import make_all

PAGE = (Path(__file__).parents[2] / "docs" / "wire.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("message", [*get_args(FromAgent), *get_args(FromServer)], ids=lambda message: message.__name__)
def test_every_message_has_a_row_with_its_fields_in_order(message: type[FromAgent | FromServer]) -> None:
    (row,) = re.findall(rf"^\| `{message.__name__}` \| (.*?) \|", PAGE, re.MULTILINE)
    told = [name for name in re.findall(r"`([a-z_]+)`", row) if name not in Limits.__struct_fields__]
    assert [name for name in told if name in message.__struct_fields__] == list(message.__struct_fields__)


@pytest.mark.parametrize("code", sorted(codes.DESCRIPTIONS))
def test_every_code_is_in_the_table(code: str) -> None:
    assert re.search(rf"^\| .*`{code}`.* \| ", PAGE, re.MULTILINE)


@pytest.mark.parametrize("status", list(StreamStatus))
def test_every_status_byte_is_in_the_table(status: StreamStatus) -> None:
    assert f"| {status:d} | {status.name} |" in PAGE


@pytest.mark.parametrize("file", sorted(make_all()))
def test_every_file_of_vectors_is_listed(file: str) -> None:
    assert f"`{file}`" in PAGE


@pytest.mark.parametrize("number", [PRE_LOGIN_BYTES_MAX, POST_LOGIN_BYTES_MAX, ITERATIONS, ITERATIONS_MAX, HEADER_BYTES_MAX])
def test_the_limits_are_the_ones_of_the_code(number: int) -> None:
    assert f"{number:,}" in PAGE


def test_the_version_is_the_one_of_the_code() -> None:
    assert f"This page is version {PROTOCOL_VERSION}," in PAGE
