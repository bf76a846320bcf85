"""100,000 exchanges with a gigabyte of bodies: memory stays flat, and the disk below its limit."""

import os
import time
from pathlib import Path

import pytest

from portway.inspector.exchange import TunnelInfo
from portway.inspector.hub import Hub
from portway.inspector.recorder import Recorder
from portway.inspector.redaction import Redaction
from portway.inspector.store import FILE, Store
from portway.inspector.writing import Writer
from tests.inspector.test_tap import REQUEST, Accepting

EXCHANGES = 100_000
BODY_BYTES = 10_000
LIMIT_BYTES = 64 * 1024 * 1024


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_memory_and_disk_stay_bounded(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE, LIMIT_BYTES)
    writer = Writer(store, Redaction(), 1_000_000, Hub().notify)
    recorder = Recorder(writer.write, 1_000_000)
    request = REQUEST.replace(b"Host", b"Authorization: Bearer x1234567\r\nHost")  # so that an original stays in memory
    response = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % BODY_BYTES
    early = 0
    largest_disk = 0
    for number in range(EXCHANGES // 100):
        tap = recorder.open_tap(TunnelInfo("t", "http://a", "x"), None)
        forward, backward = tap.sinks(Accepting(), Accepting())
        for _ in range(100):
            forward.send(request)
            backward.send(response + os.urandom(BODY_BYTES))
        tap.close("closed")
        while recorder.buffered_bytes > 8_000_000:
            time.sleep(0.01)
        if number == EXCHANGES // 100 // 3:
            early = resident_bytes()
        if number % 50 == 0:
            largest_disk = max(largest_disk, sum(path.stat().st_size for path in tmp_path.iterdir()))
    late = resident_bytes()
    recorder.close()
    usage = store.usage()
    store.close()

    assert (recorder.dropped, recorder.dropped_bodies, recorder.taps) == (0, 0, set())
    assert late - early < 30_000_000, f"{early} then {late}"
    assert usage.bytes <= LIMIT_BYTES * 1.02
    assert largest_disk < LIMIT_BYTES + 20_000_000
    assert usage.exchanges > 4_000
