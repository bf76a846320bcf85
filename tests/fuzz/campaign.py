"""Fuzzes one parser for some time, and saves inputs that break it or are the most expensive."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.mutate import mutated
from tests.fuzz.target import Target, corpus_of

HANG_S = 1.0
"""Time for one input, all cuts and comparisons included, after which it counts as a hang."""
AT_A_TIME = 200
"""Structured inputs between two readings of the clock."""
FAILURES_MAX = 5
COST_BYTES_MIN = 256
"""Shorter inputs cost mostly the call; they are measured too, but not compared by byte."""


@dataclass
class Found:
    """The results of a campaign."""

    cases: int = 0
    failures: list[tuple[bytes, str]] = field(default_factory=list)
    dearest: bytes = b""
    ns_per_byte: float = 0.0


class Campaign:
    """One target, one budget of time, one seed: the same again finds the same, as far as the machine is as fast."""

    def __init__(self, target: Target, number: int) -> None:
        self.target = target
        self.found = Found()
        self._dice = random.Random(number)
        self._number = number
        self._pool = [*target.seeds, *corpus_of(target.name), b""]

    def run(self, seconds: float) -> Found:
        """Spend half of the time on mutations and half on structured inputs."""
        until = time.monotonic() + seconds
        for data in self._pool:
            self.try_one(data)
        self._mutations(time.monotonic() + (until - time.monotonic()) / 2)
        self._structured(until)
        return self.found

    def _mutations(self, until: float) -> None:
        target = self.target
        while time.monotonic() < until and len(self.found.failures) < FAILURES_MAX:
            for _ in range(50):
                self.try_one(mutated(self._dice, self._dice.choice(self._pool), target.dictionary, self._pool, target.bytes_max))

    def _structured(self, until: float) -> None:
        number = self._number
        while time.monotonic() < until and len(self.found.failures) < FAILURES_MAX:
            number += 1
            examples = structured(self.target, self.try_one, number, until)
            examples()

    def try_one(self, data: bytes) -> None:
        """Check one input, and note its failure or its cost."""
        self.found.cases += 1
        began = time.perf_counter()
        try:
            self.target.check(data)
        except Exception as exc:  # noqa: BLE001 - any exception is a finding
            self._fail(data, f"{type(exc).__name__}: {exc}")
            return
        took_s = time.perf_counter() - began
        if took_s > HANG_S and self._again_s(data) > HANG_S:
            self._fail(data, f"took {took_s:.2f} s")
        elif self.target.by_byte and len(data) >= COST_BYTES_MIN and took_s * 1e9 / len(data) > self.found.ns_per_byte:
            # The check is dearer than the parser: only the parser counts.
            cost = ns_per_byte(self.target.parse, data, 3)
            if cost > self.found.ns_per_byte:
                self.found.ns_per_byte, self.found.dearest = cost, data

    def _again_s(self, data: bytes) -> float:
        began = time.thread_time()
        self.target.check(data)
        return time.thread_time() - began

    def _fail(self, data: bytes, why: str) -> None:
        if all(why[:60] != known[:60] for _, known in self.found.failures):
            self.found.failures.append((data, why))


def structured(target: Target, try_one: Callable[[bytes], None], number: int, until: float) -> Callable[[], None]:
    """Return what tries some structured inputs; a number gives the same ones each time."""

    @seed(number)
    @settings(max_examples=AT_A_TIME, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(target.made)
    def examples(data: bytes) -> None:
        if time.monotonic() < until:
            try_one(data[: 4 * target.bytes_max])

    return examples


def ns_per_byte(parse: Callable[[bytes], object], data: bytes, rounds: int) -> float:
    """Return what a byte costs, at its best of some rounds, in CPU time of this thread."""
    best = float("inf")
    for _ in range(rounds):
        began = time.thread_time_ns()
        parse(data)
        best = min(best, time.thread_time_ns() - began)
    return best / max(1, len(data))
