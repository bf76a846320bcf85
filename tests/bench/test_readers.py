"""Input that the benchmark parses: responses, wrk's report, /proc."""

import os
from pathlib import Path

import pytest

from bench.axes.wrk import parse_wrk
from bench.errors import BenchError
from bench.load.counters import Counters
from bench.load.http import SMALL_RESPONSE, response_bytes
from bench.machine import MachineUse, disturbance
from bench.process_stats import cpu_s, cpu_s_of, descendants, memory_bytes_of
from bench.tools import missing

WRK = """\
Running 1s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.41ms    0.88ms  17.00ms   93.41%
  45123 requests in 1.00s, 7.54MB read
Requests/sec:  45012.34
Transfer/sec:      7.52MB
"""


def test_a_response_is_complete_only_with_its_body() -> None:
    for cut in range(len(SMALL_RESPONSE)):
        head_there = b"\r\n\r\n" in SMALL_RESPONSE[:cut]
        assert response_bytes(SMALL_RESPONSE[:cut]) == (len(SMALL_RESPONSE) if head_there else None)


@pytest.mark.parametrize("head", [b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", bytes(20_000)])
def test_another_response_is_an_error(head: bytes) -> None:
    with pytest.raises(ValueError, match=r"expected 200|no end"):
        response_bytes(head)


def test_rate_and_count_of_wrk() -> None:
    found = parse_wrk(WRK)

    assert (found.per_s, found.requests, found.notes) == (45012.34, 45123, [])


def test_errors_of_wrk_become_notes() -> None:
    errors = "  Socket errors: connect 0, read 3, write 0, timeout 0\n  Non-2xx or 3xx responses: 9\n"

    notes = parse_wrk(WRK.replace("Requests/sec", errors + "Requests/sec")).notes

    assert notes == ["9 of 45123 responses were errors", "wrk's socket errors: connect 0, read 3, write 0, timeout 0 (of 45123 requests)"]


@pytest.mark.parametrize(
    "text",
    ["unable to connect to 127.0.0.1:1 Connection refused", WRK.replace("45123", "0"), WRK + "  Non-2xx or 3xx responses: 45123\n"],
)
def test_wrk_without_good_responses_is_a_failure(text: str) -> None:
    with pytest.raises(BenchError):
        parse_wrk(text)


def test_cpu_time_is_found_after_any_process_name() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    stat = b"12 (a) b) (c) S 1 12 12 0 -1 4194304 1 2 3 4 %d %d %d %d 20 0 1 0 100" % (ticks, 2 * ticks, 3 * ticks, 4 * ticks)

    assert cpu_s(stat) == 10


def test_cpu_and_memory_of_a_process_and_none_after_its_end() -> None:
    me = [os.getpid()]

    assert cpu_s_of(me) > 0
    assert memory_bytes_of(me) > 1_000_000
    assert os.getpid() in descendants(os.getppid())
    assert cpu_s_of([2**22 + 1]) == memory_bytes_of([2**22 + 1]) == 0


def test_counters_are_shared_by_all_that_map_the_file(tmp_path: Path) -> None:
    writer, reader = Counters(tmp_path / "counted"), Counters(tmp_path / "counted")

    writer.put(0, 5)
    writer.put(255, 6)

    assert reader.total() == 11
    assert reader.get(256) == 5  # slots go round


def test_other_busy_programs_are_reported() -> None:
    cores = os.cpu_count() or 1
    before, after = MachineUse(0, 0), MachineUse(busy_s=10.0 * cores, stolen_s=0)

    assert "(quiet)" in disturbance(before, after, ours_s=10.0 * cores, elapsed_s=10)
    assert "other programs used 50%" in disturbance(before, after, ours_s=5.0 * cores, elapsed_s=10)
    assert "disturbed" in disturbance(before, after, ours_s=5.0 * cores, elapsed_s=10)


def test_a_missing_program_is_reported_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.tools.INSTALL", {"no-such-program": "apt install it"})

    assert missing(("no-such-program",)) == "no-such-program not installed (apt install it)"
    assert missing(()) is None
