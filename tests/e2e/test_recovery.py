"""Real programs lose their peers, their links and their lives, and names, ports and visitors come through it.

What was measured stands at the end of the run.
"""

import math
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack

import msgspec
import pytest

from portway.links.backoff import STABLE_S_MIN
from tests.e2e.silence import SilentPath, can_make_networks, network_path, relay_path, unix_origin
from tests.e2e.world import ReportMeasurement, World, altered, event, events, moment, refusal
from tests.kit.bad_network_proxy import BadNetworkProxy
from tests.kit.http_origin import HttpOrigin
from tests.kit.machine_load import MachineLoad
from tests.kit.origins import RawOrigin, echo
from tests.kit.programs import Program

OK = b"hello from origin\n"


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin() as origin:
        yield origin


def figures(what: str, seconds: list[float]) -> str:
    """Return a distribution in words, in milliseconds."""
    ordered = sorted(seconds)
    p99 = ordered[math.ceil(len(ordered) * 0.99) - 1]
    median, mean = statistics.median(ordered), statistics.fmean(ordered)
    return (
        f"{what}: n {len(ordered)}, mean {mean * 1e3:.0f}, median {median * 1e3:.0f}, p99 {p99 * 1e3:.0f}, max {ordered[-1] * 1e3:.0f} ms"
    )


# An agent that dies


def test_a_killed_and_restarted_agent_has_its_name_and_port_within_a_second(
    world: World, origin: HttpOrigin, report_measurement: ReportMeasurement
) -> None:
    world.start_server()
    join = world.token()
    walls, owns, crowding = [], [], MachineLoad()
    with RawOrigin(echo) as raw:
        http, tcp = ("http", str(origin.port), "--name", "blog"), ("tcp", str(raw.port), "--port", str(world.tcp_port))
        agents = [world.agent(join, *http), world.agent(join, *tcp)]
        urls = [event(agent, "tunnel_up")["url"] for agent in agents]
        for _ in range(5):
            for agent in agents:
                agent.kill()
            crowding.sample()
            begun = time.monotonic()
            agents = [world.agent(join, *http)]
            answer = world.visit("blog")
            walls.append(time.monotonic() - begun)
            assert (answer.status, answer.body) == (200, OK)
            agents.append(world.agent(join, *tcp))
            assert world.call(world.tcp_port, b"still my port") == b"still my port"
            assert [event(agent, "tunnel_up")["url"] for agent in agents] == urls
            owns += [moment(event(agent, "tunnel_up")) - moment(event(agent, "connecting")) for agent in agents]
    report_measurement(figures("killed agent: from its start, interpreter included, to a visitor's answer", walls))
    report_measurement(figures("killed agent: from its first dial to its name", owns))
    assert max(walls) < 3.0 * crowding.slowdown
    assert max(owns) < 1.0 * crowding.slowdown


def test_visitors_of_an_offline_agent_are_held_and_get_their_responses(world: World, origin: HttpOrigin) -> None:
    server = world.start_server("--hold", "20s")
    join = world.token()
    with RawOrigin(echo) as raw, ThreadPoolExecutor(8) as visitors:
        http, tcp = ("http", str(origin.port), "--name", "blog"), ("tcp", str(raw.port), "--port", str(world.tcp_port))
        agents = [world.agent(join, *http), world.agent(join, *tcp)]
        for agent in agents:
            event(agent, "tunnel_up")
        for number, agent in enumerate(agents, 1):
            agent.kill()
            event(server, "session_down", number)
        held = [visitors.submit(world.visit, "blog") for _ in range(4)]
        posted = visitors.submit(world.visit, "blog", "/sink", method="POST", body=b"x" * 300_000)
        called = [visitors.submit(world.call, world.tcp_port, b"anybody there?") for _ in range(2)]
        reached = threading.Event()
        waiting = visitors.submit(reached.wait, 0.5)  # an edge that does not hold would have answered by then
        assert not waiting.result()
        assert not any([*(visit.done() for visit in (*held, posted)), *(call.done() for call in called)])
        agents += [world.agent(join, *words) for words in (http, tcp)]
        for visit in held:
            assert (visit.result().status, visit.result().body) == (200, OK)
        assert posted.result().status == 200
        assert b'"bytes": 300000' in posted.result().body
        assert [call.result() for call in called] == [b"anybody there?"] * 2


def test_after_the_hold_visitors_get_503_and_after_the_grace_the_name_is_free(world: World, origin: HttpOrigin) -> None:
    server = world.start_server("--hold", "1s", "--grace", "4s")
    mine, other = world.token("mine"), world.token("other")
    with world.agent(mine, "tcp", str(origin.port), "--port", str(world.tcp_port)) as tcp:
        event(tcp, "tunnel_up")
        agent = world.agent(mine, "http", str(origin.port), "--name", "blog")
        event(agent, "tunnel_up")
        agent.kill()
        tcp.kill()
    event(server, "session_down", 2)
    with ThreadPoolExecutor(1) as second:
        calling = second.submit(world.call, world.tcp_port, b"hello?")
        answer = world.visit("blog")
        with pytest.raises(ConnectionResetError):
            calling.result()
    assert (answer.status, answer.error) == (503, "agent_offline")
    assert answer.retry_after.isdigit()
    assert 1 <= int(answer.retry_after) <= 60
    assert 0.9 < answer.seconds < 5.0
    assert b"agent" in answer.body

    squatter = world.agent(other, "http", str(origin.port), "--name", "blog", data="other")
    assert refusal(squatter.wait())["code"] == "name_taken"
    event(server, "lease_down", 2)
    assert (world.visit("blog").status, world.visit("blog").error) == (404, "unknown_host")
    heir = world.agent(other, "http", str(origin.port), "--name", "blog", data="other")
    event(heir, "tunnel_up")
    assert world.visit("blog").body == OK


# A server that dies


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_agents_of_a_restarted_server_have_the_same_names_and_ports(
    world: World, origin: HttpOrigin, how: signal.Signals, report_measurement: ReportMeasurement
) -> None:
    server = world.start_server()
    join = world.token()
    with RawOrigin(echo) as raw:
        agents = [
            world.agent(join, "http", str(origin.port)),  # a random name
            world.agent(join, "tcp", str(raw.port)),  # any port
            world.agent(join, "http", str(origin.port), "--name", "blog"),
        ]
        ups = [event(agent, "tunnel_up") for agent in agents]
        name, port = ups[0]["name"], ups[1]["port"]
        for turn in (2, 3):
            begun = time.monotonic()
            server.signal(how)
            server.wait()
            ended_s = time.monotonic() - begun
            for agent in agents:
                event(agent, "offline", turn - 1)
            if how == signal.SIGTERM:
                assert next(events(agents[0], "offline"))["reason"] == "the server is stopping"
            begun = time.monotonic()
            server = world.start_server()
            for agent, up in zip(agents, ups, strict=True):
                assert event(agent, "tunnel_up", turn)["url"] == up["url"]
            report_measurement(
                f"server {how.name}: ended in {ended_s:.2f} s, all agents back {time.monotonic() - begun:.2f} s after its start"
            )
            assert world.visit(name).body == OK
            assert world.visit("blog").body == OK
            assert world.call(port, b"the same port") == b"the same port"
        for agent in agents:
            assert agent.running
            assert not list(events(agent, "refused"))


# Links that break

CUTS = 40
"""Enough for a mean, alternately with RST and FIN."""


def test_cut_links_are_replaced_within_300_ms_on_average(world: World, origin: HttpOrigin, report_measurement: ReportMeasurement) -> None:
    server = world.start_server()
    join = world.token()
    with BadNetworkProxy((world.agents_host, world.agents_port)) as relay:
        agent = world.agent(altered(join, port=relay.address[1]), "http", str(origin.port), "--name", "blog")
        event(agent, "tunnel_up")
        crowding = MachineLoad()
        back, second_tries = cut_and_visit(world, relay, CUTS, crowding)
        event(agent, "tunnel_up", CUTS + 1)
        report_measurement(figures("reconnects, one right after the other (sessions too young for a retry at once)", back))
        report_measurement(f"visitors who had to ask more than once: {second_tries}")
        assert len({up["url"] for up in events(agent, "tunnel_up")}) == 1
        assert len(list(events(server, "session_up"))) == CUTS + 1
        assert not list(events(server, "lease_down")), "the name was lost in between"
        report_measurement(f"the machine was crowded: all took {crowding.slowdown:.1f} times as long")
        assert statistics.fmean(back) < 0.3 * crowding.slowdown
        assert max(back) < 3.0 * crowding.slowdown

        rested, crowding = [], MachineLoad()
        for turn in range(CUTS + 2, CUTS + 5):
            wait_until_old(event(agent, "online", turn - 1), STABLE_S_MIN + 0.1)
            one, _ = cut_and_visit(world, relay, 1, crowding)
            rested += one
            event(agent, "tunnel_up", turn)
        report_measurement(figures("reconnects of sessions that lived for a while", rested))
        assert statistics.fmean(rested) < 0.3 * crowding.slowdown


def cut_and_visit(world: World, relay: BadNetworkProxy, times: int, crowding: MachineLoad) -> tuple[list[float], int]:
    """Cut the link, alternately with RST and FIN; return the seconds until a visitor was served, and how many had to ask again."""
    seconds, again = [], 0
    for turn in range(times):
        accepted = relay.accepted
        crowding.sample()
        begun = time.monotonic()
        relay.cut_now(reset=turn % 2 == 0)
        answer = world.visit("blog")
        again += answer.status != 200
        while answer.status != 200:
            assert time.monotonic() - begun < 15, answer
            answer = world.visit("blog")
        seconds.append(time.monotonic() - begun)
        assert relay.accepted > accepted, "the link was not cut"
    return seconds, again


def wait_until_old(told: dict[str, object], age_s: float) -> None:
    """Wait until an event is so long ago."""
    left_s = moment(told) + age_s - time.time()
    if left_s > 0:
        time.sleep(left_s)


# Links that go silent


@pytest.mark.parametrize("make_path", [relay_path, network_path], ids=["relay", "network"])
def test_a_silent_link_is_detected_at_both_ends_and_its_name_is_free_for_its_agent(
    make_path: Callable[[World], AbstractContextManager[SilentPath]], report_measurement: ReportMeasurement
) -> None:
    if make_path is network_path and not can_make_networks():
        pytest.skip("needs root, ip and iptables to make a network")
    with ExitStack() as stack:
        world = stack.enter_context(World())
        path = stack.enter_context(make_path(world))
        old = stack.enter_context(unix_origin(world.home / "old", "behind the silent link"))
        new = stack.enter_context(unix_origin(world.home / "new", "the second process"))
        server = world.start_server()
        join = world.token()
        far = [world.agent(path.through(join), "http", old, "--name", name, before=path.before) for name in ("moves", "waits")]
        lost = [event(agent, "tunnel_up") for agent in far]
        for name in ("moves", "waits"):
            assert world.visit(name).body == b"hello from behind the silent link\n"

        path.silence()
        silent_at, begun = time.time(), time.monotonic()
        with world.agent(join, "http", new, "--name", "moves") as near:
            assert event(near, "tunnel_up")["url"] == lost[0]["url"]
            taken_s = time.monotonic() - begun
            assert world.visit("moves").body == b"hello from the second process\n"

            at_server = next(down for down in downs(server, 20) if "nothing received" in down["reason"])
            at_agents = [event(agent, "offline", deadline_s=20) for agent in far]
            noticed = [moment(told) - silent_at for told in (at_server, *at_agents)]
            report_measurement(f"silent link: the same agent had its name elsewhere after {taken_s:.2f} s")
            report_measurement(
                f"silent link: noticed by the server after {noticed[0]:.1f} s, by the agents after {noticed[1]:.1f} and {noticed[2]:.1f} s"
            )
            assert taken_s < 4.0  # a second to probe the silent holder, and a Python to start
            assert max(noticed) < 15.0
            assert all("nothing received" in told["reason"] for told in at_agents)

            path.heal()
            assert event(far[1], "tunnel_up", 2, deadline_s=30)["url"] == lost[1]["url"]
            assert world.visit("waits").body == b"hello from behind the silent link\n"
            ended = far[0].wait(30)
            assert (ended.code, refusal(ended)["code"]) == (3, "name_in_use")
            assert world.visit("moves").body == b"hello from the second process\n"


def downs(server: Program, deadline_s: float) -> Iterator[dict[str, str]]:
    """Yield the sessions that end, one after the other, within so many seconds for each."""
    number = 1
    while True:
        yield event(server, "session_down", number, deadline_s)
        number += 1


def test_a_frozen_agent_is_replaced_and_ends_when_it_continues(
    world: World, origin: HttpOrigin, report_measurement: ReportMeasurement
) -> None:
    world.start_server()
    join = world.token()
    frozen = world.agent(join, "http", str(origin.port), "--name", "blog")
    event(frozen, "tunnel_up")
    frozen.signal(signal.SIGSTOP)
    with HttpOrigin("fresh") as fresh:
        begun = time.monotonic()
        agent = world.agent(join, "http", str(fresh.port), "--name", "blog")
        event(agent, "tunnel_up")
        report_measurement(f"frozen agent: its name was free for it after {time.monotonic() - begun:.2f} s")
        frozen.signal(signal.SIGCONT)
        ended = frozen.wait()
        assert ended.code == 3
        assert refusal(ended)["code"] in ("replaced", "name_in_use")
        assert world.visit("blog").body == b"hello from fresh\n"


# Several agents


def test_two_agents_of_one_machine_run_side_by_side(world: World) -> None:
    server = world.start_server()
    join = world.token()
    with HttpOrigin("one") as one, HttpOrigin("two") as two:
        first = world.agent(join, "http", str(one.port), "--name", "one")
        second = world.agent(join, "http", str(two.port), "--name", "two")
        urls = {event(first, "tunnel_up")["url"], event(second, "tunnel_up")["url"]}
        for name in ("one", "two"):
            assert world.visit(name).body == f"hello from {name}\n".encode()
        told = msgspec.json.decode(world.run("status", "--json").out)
        assert {program["pid"] for program in told} == {server.pid, first.pid, second.pid}
        assert {tunnel["url"] for program in told if program["program"] == "agent" for tunnel in program["tunnels"]} == urls
        seen = world.run("status").out
        assert all(url in seen for url in urls)
        assert f"agent {first.pid}  online" in seen

        first.kill()
        event(server, "session_down")
        assert world.visit("two").body == b"hello from two\n"
        again = world.agent(join, "http", str(one.port), "--name", "one")
        event(again, "tunnel_up")
        assert world.visit("one").body == b"hello from one\n"
        assert second.running
        assert len(list(events(second, "tunnel_up"))) == 1


def test_a_name_in_use_is_released_only_to_a_takeover(world: World) -> None:
    server = world.start_server()
    join = world.token()
    with HttpOrigin("first") as one, HttpOrigin("second") as two, BadNetworkProxy((world.agents_host, world.agents_port)) as relay:
        first = world.agent(join, "http", str(one.port), "--name", "blog", as_json=False)
        first.expect("http://blog.localhost")
        through = altered(join, port=relay.address[1])

        polite = world.agent(through, "http", str(two.port), "--name", "blog", as_json=False).wait()
        assert polite.code == 3
        assert polite.out == ""
        assert "refused: another running session of this agent uses blog.localhost (name_in_use)" in polite.err
        assert "use --takeover" in polite.err
        assert world.visit("blog").body == b"hello from first\n"

        second = world.agent(through, "http", str(two.port), "--name", "blog", "--takeover")
        event(second, "tunnel_up")
        assert world.visit("blog").body == b"hello from second\n"
        ended = first.wait()
        assert ended.code == 3
        assert "refused: another session of this agent took over blog.localhost (replaced). Stop one of the two." in ended.err

        # The winner keeps the name over a lost link, and the loser is gone for good.
        relay.cut_now()
        event(second, "tunnel_up", 2)
        assert world.visit("blog").body == b"hello from second\n"
        assert len(list(events(server, "session_up"))) == 4
