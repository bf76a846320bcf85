"""Lines are written in order; with a stalled reader they are dropped, and the caller never waits."""

import os
import socket
import threading
import time

import pytest

from portway.telemetry.line_writer import LINE_CHARS_MAX, LineWriter


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def read_all(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as reader:
        return reader.read().decode()


def test_lines_arrive_whole_and_in_order(pipe: tuple[int, int]) -> None:
    ours, theirs = pipe
    writer = LineWriter(theirs)
    for number in range(500):
        writer.write(f"line {number}")
    writer.close()
    os.close(theirs)

    assert read_all(ours).splitlines() == [f"line {number}" for number in range(500)]


def test_a_stalled_reader_never_blocks_the_caller_and_gets_the_number_of_dropped_lines(pipe: tuple[int, int]) -> None:
    ours, theirs = pipe
    writer = LineWriter(theirs, lines_max=10, dropped_line=lambda count: f"dropped {count}")
    line = "x" * 9000  # a pipe holds 64 KiB: the thread is soon stuck in its write
    for _ in range(200):
        writer.write(line)

    output: list[str] = []
    reader = threading.Thread(target=lambda: output.append(read_all(ours)))
    reader.start()
    writer.close(10)
    os.close(theirs)
    reader.join(10)

    lines = output[0].splitlines()
    written = sum(1 for found in lines if found == line)
    dropped = [int(found.removeprefix("dropped ")) for found in lines if found.startswith("dropped ")]
    assert dropped
    assert written + sum(dropped) == 200
    assert written < 40


def test_rapid_lines_are_batched_and_the_first_is_written_at_once() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # every write is a message of its own
    with ours, theirs:
        ours.settimeout(5)
        writer = LineWriter(theirs.fileno())
        writer.write("first")
        assert ours.recv(100) == b"first\n"
        for _ in range(200):
            writer.write("another")
            time.sleep(0.001)
        writer.close()
        received, writes = b"", 0
        while len(received) < 200 * len("another\n"):
            received += ours.recv(1 << 16)
            writes += 1
        assert received == b"another\n" * 200
        assert writes < 50


def test_closing_waits_for_a_stalled_reader_with_a_deadline(pipe: tuple[int, int]) -> None:
    ours, theirs = pipe
    writer = LineWriter(theirs)
    for _ in range(100):
        writer.write("x" * 9000)

    writer.close(0.05)
    writer.write("too late")

    os.close(ours)


def test_a_closed_reader_is_ignored(pipe: tuple[int, int]) -> None:
    ours, theirs = pipe
    os.close(ours)
    writer = LineWriter(theirs)
    writer.write("one")
    writer.close()
    writer.write("two")
    os.close(theirs)


def test_a_non_blocking_terminal_gets_every_line(pipe: tuple[int, int]) -> None:
    ours, theirs = pipe
    os.set_blocking(theirs, False)
    writer = LineWriter(theirs)
    for number in range(100):
        writer.write(f"{number} " + "x" * 5000)
    output: list[str] = []
    reader = threading.Thread(target=lambda: output.append(read_all(ours)))
    reader.start()
    writer.close(10)
    os.close(theirs)
    reader.join(10)

    assert [line.split(" ")[0] for line in output[0].splitlines()] == [str(number) for number in range(100)]


def test_endless_lines_and_odd_text_are_cut_and_escaped(pipe: tuple[int, int]) -> None:
    ours, theirs = pipe
    writer = LineWriter(theirs)
    writer.write("y" * 100_000)
    writer.write("caf\udce9")
    writer.close()
    os.close(theirs)

    assert read_all(ours).splitlines() == ["y" * LINE_CHARS_MAX, r"caf\udce9"]
