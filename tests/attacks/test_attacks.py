"""Small attacks, once each: innocent clients are served, no response crosses, the server survives within its memory bound."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.attacks.attack import all_attacks
from tests.attacks.child import Child
from tests.attacks.innocent import Client
from tests.attacks.measure import LATE_S, MB, attack_task
from tests.attacks.site import INNOCENT, Site

SECONDS = 2.0
"""Duration limit of an attack; most end sooner."""

GROWTH_MAX_MB = 60.0
"""For all small attacks on one server, with allocators that do not return memory."""

REQUESTS_PER_S = 20.0

CLIENT_RUN_S = 0.25

FULL_S = 0.75
"""Time in which new visitors may be rejected when many sources use up the capacity with few connections each: they look like honest
ones until they have been slow for a while (`connection_state.SLOW_S_CRAMPED`)."""


OPEN: dict[str, str] = {}
"""Known failures."""


class Small:
    """A shared server and the client of its innocent tenant."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.client = Client(site.http_port, site.innocent_host(), INNOCENT, REQUESTS_PER_S)

    def close(self) -> None:
        """Close the innocent client's connections."""
        self.client.close()


@pytest.fixture(scope="module")
def small() -> Iterator[Small]:
    with Site() as site, closing(Small(site)) as small:
        yield small


NAMES = sorted(all_attacks())

USUAL = frozenset(
    {
        *("anonymous-payload", "empty-frames-before-login", "length-lies", "wrong-secrets"),
        *("deaf-agent", "member-resets", "name-race", "ticket-hoard", "unknown-fields", "unread-replies"),
        *("borrowed-login", "endless-head", "poison-body", "poison-expect", "unasked-answer"),
        *("bad-requests", "big-heads", "pipelined", "silent-tcp-visitors", "slow-bodies", "slow-heads"),
        *("tiny-chunks-up-16", "websocket-bytes"),
    }
)
"""Attacks of each kind of threat that every test run contains; `-m long` and `make attack` run the others."""


def test_every_kind_of_threat_has_an_attack_in_the_usual_run() -> None:
    attacks = all_attacks()
    assert set(attacks) >= USUAL
    assert {attacks[name].threat for name in USUAL} == {one.threat for one in attacks.values()} - {"L1"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in USUAL else pytest.mark.long) for name in NAMES])
def test_an_attack_harms_no_other_client(small: Small, tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    if name in OPEN:
        request.applymarker(pytest.mark.xfail(reason=OPEN[name], strict=False))
    attack = all_attacks()[name]
    if attack.descriptors:
        with Site(descriptors=attack.descriptors) as site, closing(Small(site)) as own:
            survive(own, tmp_path, name)
    else:
        survive(small, tmp_path, name)


def survive(small: Small, home: Path, name: str) -> None:
    """Run an attack; fail if the innocent client sees more than a delay."""
    site = small.site
    task = attack_task(all_attacks()[name], site, NAMES.index(name), home, small=True, seconds=SECONDS)
    with Child("tests.attacks.attacker", task) as attacker, ThreadPoolExecutor(1) as thread:
        attacker.ready()
        site.reset_peak()
        before = site.resources().rss_bytes
        attacker.start_work()
        result = thread.submit(attacker.receive_line, SECONDS + LATE_S)
        started = time.monotonic()
        seen = [(0.0, small.client.run(CLIENT_RUN_S))]
        while not result.done():
            seen.append((time.monotonic() - started, small.client.run(CLIENT_RUN_S)))
        outcome = result.result()
    assert outcome["crossed"] == 0, outcome
    assert outcome["fate"] != "free", outcome
    for at_s, one in seen:
        assert one.crossed == 0
        assert one.errors == {} or (all_attacks()[name].descriptors and at_s < FULL_S), f"{dict(one.errors)} after {at_s:.2f} s"
    assert (site.peak_bytes() - before) / MB < GROWTH_MAX_MB
    assert site.server.running, site.server.transcript()
    assert site.logged_errors() == []
