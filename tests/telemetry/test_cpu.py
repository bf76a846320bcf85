"""CPU time that this process used and waited for."""

import time
from pathlib import Path

import pytest

from portway.telemetry import cpu
from portway.telemetry.cpu import CpuTime, cpu_time


def test_a_busy_process_uses_time_and_an_idle_one_does_not() -> None:
    before = cpu_time()
    time.sleep(0.05)
    idle = cpu_time() - before
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    busy = cpu_time() - before - idle

    assert idle.used_s < 0.05
    assert busy.used_s >= 0.09
    assert busy.waited_s >= 0


def test_waiting_time_is_read_from_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "schedstat"
    file.write_text("505067371 2500000000 7\n")
    monkeypatch.setattr(cpu, "_SCHEDULE", file)

    assert cpu_time().waited_s == 2.5


def test_waiting_time_is_zero_where_the_kernel_does_not_report_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (None, "", "nonsense here"):
        file = tmp_path / "schedstat"
        if text is not None:
            file.write_text(text)
        monkeypatch.setattr(cpu, "_SCHEDULE", file)

        assert cpu_time().waited_s == 0.0


def test_a_difference_is_never_below_zero() -> None:
    assert CpuTime(1.0, 0.0) - CpuTime(2.0, 1.0) == CpuTime(0.0, 0.0)
