"""Runs one attack next to innocent clients and records its effects."""

import shutil
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.attacks.attack import Attack
from tests.attacks.child import Child
from tests.attacks.site import INNOCENT, Resources, Site
from tests.kit.programs import SOURCES

RATE_PER_S = 200.0
"""Request rate of the innocent client: a few percent of a core."""
WARM_S = 1.0
SETTLE_S = 3.0
"""After the attack, for the server to release resources."""
SAMPLE_S = 0.1
LATE_S = 60.0
"""Longest delay beyond the planned time before a run is aborted."""

MB = 1e6


@dataclass
class Side:
    """Figures of one run, with the attackers against the server or against a sink."""

    innocents: dict[str, dict[str, Any]]
    outcome: dict[str, Any]
    rss_before_mb: float
    rss_peak_mb: float
    rss_after_mb: float
    descriptors_before: int
    """Before attackers and innocent clients connected; the number afterwards should be equal."""
    descriptors_peak: int
    descriptors_after: int
    cpu_share: float
    """CPU time of the server per second of the attack."""
    logged_errors: list[str] = field(default_factory=list)


class DescriptorSampler:
    """Samples the number of the server's descriptors in a thread."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stop = threading.Event()
        self.descriptors_peak = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            try:
                self.descriptors_peak = max(self.descriptors_peak, self._site.resources().descriptors)
            except (OSError, AssertionError):
                return

    def end(self) -> None:
        """Stop sampling."""
        self._stop.set()
        self._thread.join(5)


def attack_task(attack: Attack, site: Site, number: int, home: Path, *, small: bool, seconds: float) -> dict[str, Any]:
    """Return the task for the attacker's process."""
    return {
        "attack": attack.name,
        "http_port": site.http_port,
        "agents_port": site.agents_port,
        "join_text": site.attackers_join_text,
        "neighbours_join_text": site.neighbours_join_text,
        "sources": f"127.{100 + number % 100}",
        "source_path": str(site.source),
        "home": str(home),
        "small": small,
        "seconds": seconds,
    }


def measure(attack: Attack, source: Path = SOURCES, *, against_sink: bool, seconds: float | None = None) -> Side:
    """Start all programs, run the attack once, and return its figures.

    Raises:
        ChildError, AssertionError: a program did not start, or exited.
    """
    seconds = seconds or attack.seconds
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="portway-attacker-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        site = stack.enter_context(Site(source, descriptors=attack.descriptors))
        target = stack.enter_context(Site(source, descriptors=attack.descriptors, sink=True)) if against_sink else site
        host = site.innocent_host()
        idle = site.resources()
        innocents = {kind: stack.enter_context(_innocent(kind, site, host, seconds)) for kind in attack.innocents}
        task = attack_task(attack, target, 0, home, small=False, seconds=seconds)
        attacker = stack.enter_context(Child("tests.attacks.attacker", task))
        for child in (*innocents.values(), attacker):
            child.ready()
        return _run(site, idle, attacker, innocents, seconds)


def _innocent(kind: str, site: Site, host: str, seconds: float) -> Child:
    task = {"kind": kind, "seconds": seconds, "warm_s": WARM_S, "tenant": INNOCENT, "rate_per_s": RATE_PER_S}
    task |= {"port": site.http_port, "host": host, "join": site.join_text}
    return Child("tests.attacks.innocent", task)


def _run(site: Site, idle: Resources, attacker: Child, innocents: dict[str, Child], seconds: float) -> Side:
    site.reset_peak()
    before, began = site.resources(), time.monotonic()
    watch = DescriptorSampler(site)
    attacker.start_work()
    for child in innocents.values():
        child.start_work()
    seen = {kind: child.receive_line(seconds + LATE_S) for kind, child in innocents.items()}
    outcome = attacker.receive_line(seconds + LATE_S)
    during, took_s = site.resources(), time.monotonic() - began
    watch.end()
    peak = site.peak_bytes()
    time.sleep(SETTLE_S)
    after = site.resources()
    return Side(
        innocents=seen,
        outcome=outcome,
        rss_before_mb=before.rss_bytes / MB,
        rss_peak_mb=peak / MB,
        rss_after_mb=after.rss_bytes / MB,
        descriptors_before=idle.descriptors,
        descriptors_peak=watch.descriptors_peak,
        descriptors_after=after.descriptors,
        cpu_share=(during.cpu_s - before.cpu_s) / took_s,
        logged_errors=site.logged_errors(),
    )


def as_dict(side: Side) -> dict[str, Any]:
    """Return the figures for JSON."""
    return asdict(side)
