"""The table of parser costs."""

import pytest

from bench.parsers import Case, Cost, all_cases, faults, measure, table
from portway.errors import PeerError


def test_every_case_is_parsed_or_refused() -> None:
    names = set()
    for case in all_cases():
        try:
            case.run(case.data)
        except PeerError:
            assert case.message, f"{case.parser}: a refused stream is not measured"
        names.add(case.parser)
        assert len(case.data) > 0
    assert len(names) >= 10


def test_exceeded_limits_are_reported() -> None:
    stream = Case("stream", "bytes", bytes(1000), lambda data: None)
    message = Case("message", "bytes", bytes(1000), lambda data: None, message=True)
    shortest = Case("message", "the shortest", b"x", lambda data: None, message=True, small=True)
    expensive = [Cost(stream, 0.00011), Cost(message, 0.0011), Cost(shortest, 0.00001)]
    assert faults(expensive) == ["stream: bytes: 110 ns per byte, at most 100", "message: bytes: 1.1 ms, at most 1"]
    assert faults([Cost(stream, 0.00009), Cost(message, 0.0009), Cost(shortest, 0.00001)]) == []
    assert table(expensive).splitlines()[2:] == [
        "| stream | bytes (1,000 bytes) | 110 |  |",
        "| message | bytes (1,000 bytes) | 1,100 | 1,100; the shortest 10 |",
    ]


def test_a_measurement_is_the_cpu_time_of_one_run() -> None:
    runs = []
    cost = measure(Case("parser", "bytes", b"x" * 100, lambda data: runs.append(sum(range(1000)))), runs=2)
    assert len(runs) >= 2
    assert 0 < cost.seconds < 0.01
    assert cost.ns_per_byte == pytest.approx(cost.seconds * 1e7)
