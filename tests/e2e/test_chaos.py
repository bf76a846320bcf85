"""Links, agents and the server break at random while visitors come: each answer that arrives is whole and right."""

import hashlib
import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.world import World, altered, event
from tests.kit.bad_network_proxy import BadNetworkProxy
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import RawOrigin, echo
from tests.kit.programs import Program
from tests.kit.streams import stream_hash

CHAOS_S = 10.0
BODY_BYTES = 300_000
RIGHT = "right"


class Scene:
    """A server, three agents behind a bad network each, and visitors that count what they get."""

    def __init__(self, world: World, stack: ExitStack) -> None:
        """Start everything."""
        self.world = world
        self.counts: Counter[str] = Counter()
        self.over = threading.Event()
        web, raw = stack.enter_context(HttpOrigin()), stack.enter_context(RawOrigin(echo))
        self.server = world.start_server()
        self._join = world.token()
        address = (world.agents_host, world.agents_port)
        self.relays = [stack.enter_context(BadNetworkProxy(address)) for _ in range(3)]
        self._words = [
            ("http", str(web.port), "--name", "one"),
            ("http", str(web.port), "--name", "two"),
            ("tcp", str(raw.port), "--port", str(world.tcp_port)),
        ]
        self.agents = [self._agent(number) for number in range(3)]
        for agent in self.agents:
            event(agent, "tunnel_up")

    def _agent(self, number: int) -> Program:
        return self.world.agent(altered(self._join, port=self.relays[number].address[1]), *self._words[number])

    def break_something(self, chance: random.Random) -> None:
        """Do one bad thing."""
        number = chance.randrange(3)
        relay = self.relays[number]
        match chance.choice(["cut", "cut", "end", "cut within", "cut within", "silence", "kill", "server"]):
            case "cut":
                relay.cut_now()
            case "end":
                relay.cut_now(reset=False)
            case "cut within":
                relay.cut_after(chance.randrange(1, 2 * BODY_BYTES), reset=chance.random() < 0.5)
            case "silence":
                relay.blackhole()
                time.sleep(chance.uniform(0.0, 0.5))
                relay.blackhole(False)
            case "kill":
                self.agents[number].kill()
                self.agents[number] = self._agent(number)
            case _ if self.counts["servers killed"] < 2:
                self.counts["servers killed"] += 1
                self.server.kill()
                self.server = self.world.start_server()

    def visit_on(self, chance: random.Random) -> None:
        """Come as visitor after visitor, until it is over."""
        while not self.over.is_set():
            begun = time.monotonic()
            outcome = self.outcome(chance)
            self.counts[outcome] += 1
            if outcome != RIGHT:
                self.over.wait(0.02)  # a server that is away refuses at once
            if time.monotonic() - begun > 15:
                self.counts["waited too long"] += 1

    def outcome(self, chance: random.Random) -> str:
        """Return what one visitor got: right, a visible error, or a violation."""
        try:
            if chance.random() < 0.3:
                data = chance.randbytes(100_000)
                return RIGHT if self.world.call(self.world.tcp_port, data) == data else "a short tcp answer that looks whole"
            path = chance.choice(["bytes", "chunked"])
            answer = self.world.visit(chance.choice(["one", "two"]), f"/{path}?n={BODY_BYTES}&seed=3")
        except (http.client.HTTPException, OSError):
            return "broken visibly"
        if answer.error:
            return f"{answer.status} {answer.error}"
        right = answer.status == 200 and hashlib.sha256(answer.body).hexdigest() == stream_hash(BODY_BYTES, 3)
        return RIGHT if right else f"wrong body with status {answer.status}"


@pytest.fixture
def scene() -> Iterator[Scene]:
    with ExitStack() as stack:
        world = stack.enter_context(World())
        yield Scene(world, stack)


@pytest.mark.parametrize("seed", [1])
def test_under_faults_visitors_get_the_right_response_or_an_error_and_everything_recovers(scene: Scene, seed: int) -> None:
    chance = random.Random(seed)
    assert [scene.outcome(random.Random(number)) for number in range(6)] == [RIGHT] * 6
    calm = scene.server.descriptors()
    visitors = [threading.Thread(target=scene.visit_on, args=(random.Random(chance.random()),)) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    try:
        until = time.monotonic() + CHAOS_S
        while time.monotonic() < until:
            time.sleep(chance.uniform(0.02, 0.4))
            scene.break_something(chance)
    finally:
        scene.over.set()
        for visitor in visitors:
            visitor.join(40)
    print(f"\nchaos: {dict(scene.counts)}")
    must_not_be = [what for what in scene.counts if what.startswith(("a short", "wrong", "waited"))]
    assert not must_not_be, scene.counts
    expected = {RIGHT, "broken visibly", "servers killed", "502 origin_closed", "503 agent_offline", "404 unknown_host"}
    assert set(scene.counts) <= expected, scene.counts

    wait_until(lambda: [scene.outcome(random.Random(number)) for number in range(6)] == [RIGHT] * 6, "everything is back")
    assert all(agent.running for agent in scene.agents)
    wait_until(lambda: scene.server.descriptors() <= calm + 2, "the server holds no more descriptors than before")


def wait_until(wanted: Callable[[], bool], what: str, deadline_s: float = 20.0) -> None:
    """Look again and again until something is so."""
    until = time.monotonic() + deadline_s
    while not wanted():
        assert time.monotonic() < until, f"not within {deadline_s} s: {what}"
        time.sleep(0.05)
