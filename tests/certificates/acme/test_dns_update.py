"""Dynamic updates of a real name server, and a wildcard certificate by them."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import pytest

from portway.certificates.acme.dns_update import TsigKey, UpdateRecords, read_tsig_key
from portway.certificates.acme.failures import OrderFailed, Scope
from portway.errors import ConfigError
from tests.certificates.acme.kit import running
from tests.kit.name_server import NameServer, name_server
from tests.kit.pebble import pebble
from tests.kit.sockets import free_port

ZONE = "tunnel.example.org"
RECORD = f"_acme-challenge.{ZONE}"


@pytest.fixture(scope="module")
def server() -> Iterator[NameServer]:
    with name_server(ZONE) as server:
        yield server


def records_of(server: NameServer, key: TsigKey | None = None) -> UpdateRecords:
    return UpdateRecords("127.0.0.1", server.port, key or read_tsig_key(server.key_file), sleep=time.sleep, servers_port=server.port)


def values(server: NameServer) -> set[str]:
    reply = dns.query.udp(dns.message.make_query(RECORD, "TXT"), "127.0.0.1", 5, server.port)
    return {str(text).strip('"') for found in reply.answer for text in found}


def test_records_of_one_name_are_added_and_removed_one_by_one(server: NameServer) -> None:
    records = records_of(server)

    records.add(RECORD, "one")
    records.add(RECORD, "two")
    assert values(server) == {"one", "two"}
    records.remove(RECORD, "one")
    assert values(server) == {"two"}
    records.remove(RECORD, "two")
    assert values(server) == set()


def test_a_wrong_key_and_an_unknown_zone_are_named(server: NameServer) -> None:
    wrong = TsigKey("portway", "hmac-sha256", "d3Jvbmcgc2VjcmV0IHdyb25nIHNlY3JldA==")

    with pytest.raises(OrderFailed, match=rf"^acme_dns_server: 127.0.0.1:{server.port}: update of {ZONE}. (failed|refused).*") as failed:
        records_of(server, wrong).add(RECORD, "value")
    assert failed.value.scope is Scope.NAME
    with pytest.raises(OrderFailed, match=r"has no zone for _acme-challenge.other.example.net"):
        records_of(server).add("_acme-challenge.other.example.net", "value")
    gone = UpdateRecords("127.0.0.1", free_port(), wrong, sleep=time.sleep)
    with pytest.raises(OrderFailed, match="does not reply: Connection refused"):
        gone.add(RECORD, "value")


@pytest.mark.parametrize(
    "content",
    ["", "secret", 'key "a" { algorithm hmac-md5; secret "aaaa"; };', 'key "a" { algorithm hmac-sha256; };', 'key { secret "aaaa"; }'],
)
def test_a_key_file_with_other_content(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)

    with pytest.raises(ConfigError, match="acme_dns_key: .*expected the output of tsig-keygen"):
        read_tsig_key(path)
    with pytest.raises(ConfigError, match="does not exist"):
        read_tsig_key(tmp_path / "missing")


def test_the_key_is_in_no_repr(server: NameServer) -> None:
    key = read_tsig_key(server.key_file)

    assert key.secret not in repr(key)


def test_a_wildcard_certificate_by_dynamic_updates(server: NameServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        with pebble(http_port=free_port(), tls_port=free_port(), dns_port=server.port) as ca:
            async with running(ca, tmp_path, records=records_of(server), domain=ZONE) as run:
                await run.until(lambda: run.issued() == [f"*.{ZONE}"])
                assert run.source.has_trusted(f"app.{ZONE}")
                assert run.failed() == []

    asyncio.run(scenario())
    assert values(server) == set()
