"""TXT records by a program."""

import time
from pathlib import Path

import pytest

from portway.certificates.acme.dns_records import HookRecords
from portway.certificates.acme.failures import OrderFailed, Scope


def program(folder: Path, text: str) -> Path:
    path = folder / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_program_gets_action_name_and_value(tmp_path: Path) -> None:
    records = HookRecords(program(tmp_path, f'printf "%s|" "$@" >> {tmp_path}/calls'))

    records.add("_acme-challenge.example.org", "va lue;$(id)")
    records.remove("_acme-challenge.example.org", "va lue;$(id)")

    assert (tmp_path / "calls").read_text() == "".join(
        f"{action}|_acme-challenge.example.org|va lue;$(id)|" for action in ("add", "remove")
    )


def test_a_failure_shows_the_end_of_the_output(tmp_path: Path) -> None:
    records = HookRecords(program(tmp_path, "yes begin | head -100000; echo the zone is locked >&2; exit 3"))

    with pytest.raises(
        OrderFailed, match=r"^acme_dns_hook: exit code 3: .*the zone is locked \(.*hook add _acme-challenge.example.org\)$"
    ) as failed:
        records.add("_acme-challenge.example.org", "value")

    assert failed.value.scope is Scope.NAME
    assert len(str(failed.value)) <= 400


def test_a_program_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    records = HookRecords(program(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; wait"), deadline_s=0.5)

    with pytest.raises(OrderFailed, match=r"not complete after 0\.5 s"):
        records.add("_acme-challenge.example.org", "value")

    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    until = time.monotonic() + 5
    while child.exists() and child.read_text().split()[2] != "Z":
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_program_that_ends_by_a_signal_or_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(OrderFailed, match="signal 9: no output"):
        HookRecords(program(tmp_path, "kill -9 $$")).add("_acme-challenge.example.org", "value")
    with pytest.raises(OrderFailed, match="cannot be run: No such file"):
        HookRecords(tmp_path / "missing").add("_acme-challenge.example.org", "value")
