"""What a disk that fails means for `portway.inspector.writing`: a batch is lost and counted, and ids are not mixed up."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from portway.inspector.exchange import Exchange, TunnelInfo
from portway.inspector.hub import Hub
from portway.inspector.redaction import Redaction
from portway.inspector.store import Batch, Store
from portway.inspector.writing import Writer, timings_of

TUNNEL = TunnelInfo("t", "http://a", "x")


class FailingStore(Store):
    """A store whose commits fail while `fails`."""

    fails = False

    @contextmanager
    def transaction(self) -> Iterator[Batch]:
        with super().transaction() as batch:
            yield batch
            if self.fails:
                raise sqlite3.OperationalError("database or disk is full")


def exchange(target: str) -> Exchange:
    head = f"GET {target}?token=x1 HTTP/1.1\r\nHost: a\r\nX-Request-Start: t=1000000\r\n\r\n".encode()
    return Exchange(TUNNEL, 1.5, 10.0, head, b"GET", connect_s=0.1, link_s=0.2, request_end=10.2, first_byte=10.5, ended=11.0, status=200)


def test_a_batch_that_fails_is_counted_and_its_ids_are_used_again_for_others() -> None:
    store = FailingStore(None, 10_000_000)
    writer = Writer(store, Redaction(), 1000, Hub().notify)
    lost, stored = exchange("/lost"), exchange("/stored")
    store.fails = True
    writer.write([lost])
    assert (writer.lost, lost.row, store.error, writer.originals.find(1)) == (1, 0, "database or disk is full", None)

    store.fails = False
    writer.write([stored])
    assert (stored.row, store.error, [row["target"] for row in store.page()]) == (1, "", ["/stored?token=***"])
    original = writer.originals.find(1)
    assert original is not None
    assert original.head == stored.request_head


def test_phases_add_up() -> None:
    assert timings_of(exchange("/")) == {
        "link_ms": 200.0, "edge_ms": 400.0, "connect_ms": 100.0, "send_ms": 100.0, "first_byte_ms": 300.0, "transfer_ms": 500.0,
    }  # fmt: skip
