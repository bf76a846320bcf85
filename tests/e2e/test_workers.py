"""A server of several processes, as real programs: visitors come in on any, and one that is killed takes only its own along."""

import hashlib
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import World, assert_refused, refusal
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import RawOrigin
from tests.kit.programs import Program
from tests.kit.sockets import read_to_end, reset
from tests.kit.streams import blocks, stream_hash

DEADLINE_S = 30.0
BACK_S_MAX = 1.0
"""What the agents of a killed worker may take to be back; measured by the server's own events, however busy the machine is."""

WORKERS = ("--workers", "2")

LONG_BYTES = 100_000_000


@pytest.fixture(params=["TLS links", "plain links"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A server with two workers, over each kind of link."""
    plain = ("--plaintext-links",) if request.param == "plain links" else ()
    with World(server_flags=(*WORKERS, *plain)) as world:
        yield world


@pytest.fixture
def encrypted() -> Iterator[World]:
    """The same over TLS alone, where links do not matter."""
    with World(server_flags=WORKERS) as world:
        yield world


def plain_flags(world: World) -> list[str]:
    return [flag for flag in world.server_flags if flag == "--plaintext-links"]


def told(program: Program, name: str) -> list[dict[str, object]]:
    """Return the events of a kind that a program has emitted so far."""
    return [event for line in list(program.out.lines) if (event := json.loads(line))["event"] == name]


def until(program: Program, name: str, count: int = 1) -> list[dict[str, object]]:
    """Wait for so many events of a kind."""
    deadline = time.monotonic() + DEADLINE_S
    while len(found := told(program, name)) < count:
        assert time.monotonic() < deadline, program.transcript()
        time.sleep(0.02)
    return found


def pid_of(server: Program, worker: int) -> int:
    """Return a worker's process."""
    return next(int(str(event["pid"])) for event in until(server, "worker_up", worker) if event["worker"] == worker)


def answering_after_the_end(sock: socket.socket) -> None:
    """Answer with the hash of all that came, once its end has come."""
    sock.sendall(hashlib.sha256(read_to_end(sock)).digest())
    sock.shutdown(socket.SHUT_WR)


def two_agents(world: World, server: Program, kind: str, port: int) -> list[Program]:
    """Return agents whose sessions are on worker 1 and worker 2, with names `app1` and `app2` when they are http."""
    join = world.token()
    agents = []
    for number in (1, 2):
        name = ["--name", f"app{number}"] if kind == "http" else []
        agents.append(world.agent(join, kind, str(port), *name, *plain_flags(world), data=f"agent{number}"))
        agents[-1].expect("tunnel_up", DEADLINE_S)
        until(server, "session_up", number)
    return agents


def port_of(agent: Program) -> int:
    return int(str(until(agent, "tunnel_up")[-1]["port"]))


def send_all(sock: socket.socket, data: bytes) -> None:
    """Send, then end."""
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def request(name: str, path: str, body: bytes = b"") -> bytes:
    head = f"{'PUT' if body else 'GET'} {path} HTTP/1.1\r\nHost: {name}.localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def read_answer(sock: socket.socket, held: bytes = b"") -> tuple[bytes, bytes, bytes]:
    """Return head and body of one answer with a length, and what came behind it."""
    while b"\r\n\r\n" not in held:
        piece = sock.recv(65536)
        assert piece, held
        held += piece
    head, _, held = held.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while len(held) < length:
        piece = sock.recv(65536)
        assert piece, (head, held)
        held += piece
    return head, held[:length], held[length:]


def test_one_connection_may_ask_for_hosts_of_both_workers_in_turn(world: World) -> None:
    server = world.start_server()
    with HttpOrigin() as origin:
        two_agents(world, server, "http", origin.port)
        with socket.create_connection(("127.0.0.1", world.http_port), DEADLINE_S) as visitor:
            body = b""
            for number in (1, 2, 2, 1, 1, 2, 1, 2):
                visitor.sendall(request(f"app{number}", "/bytes/1000"))
                head, body, rest = read_answer(visitor)
                assert head.startswith(b"HTTP/1.1 200"), head
                assert rest == b""
            # All at once: what was read behind a request goes along with it.
            visitor.sendall(b"".join(request(f"app{number}", "/bytes/1000") for number in (1, 2, 1, 1, 2)))
            rest = b""
            for _ in range(5):
                head, again, rest = read_answer(visitor, rest)
                assert head.startswith(b"HTTP/1.1 200"), head
                assert again == body
            # A head in pieces, and a body behind it.
            whole = request("app2", "/sum", random.Random(1).randbytes(200_000))
            for at in (0, 30, 60):
                visitor.sendall(whole[at : at + 30])
                time.sleep(0.02)
            visitor.sendall(whole[90:])
            head, _, _ = read_answer(visitor)
            visitor.sendall(request("app1", "/bytes/1000"))
            assert read_answer(visitor)[1] == body


def test_a_hundred_megabytes_in_each_direction_arrive_after_a_handoff(world: World) -> None:
    server = world.start_server()
    with HttpOrigin() as origin:
        two_agents(world, server, "http", origin.port)
        with socket.create_connection(("127.0.0.1", world.http_port), DEADLINE_S) as visitor:
            for number in (1, 2):  # whichever worker accepted it: it was handed off, and is now on worker 2
                visitor.sendall(request(f"app{number}", "/hello"))
                read_answer(visitor)
            visitor.sendall(f"PUT /sink HTTP/1.1\r\nHost: app1.localhost\r\nContent-Length: {LONG_BYTES}\r\n\r\n".encode())
            for block in blocks(LONG_BYTES, 3):
                visitor.sendall(block)
            _, told_back, _ = read_answer(visitor)
            assert json.loads(told_back) == {"bytes": LONG_BYTES, "sha256": stream_hash(LONG_BYTES, 3)}
            visitor.sendall(request("app2", f"/bytes?n={LONG_BYTES}&seed=4"))
            visitor.shutdown(socket.SHUT_WR)  # the answer still comes, whole
            whole = read_to_end(visitor)
    head, _, body = whole.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    assert hashlib.sha256(body).hexdigest() == stream_hash(LONG_BYTES, 4)


def test_a_visitor_of_either_worker_gets_every_name(world: World) -> None:
    server = world.start_server()
    with HttpOrigin() as origin:
        two_agents(world, server, "http", origin.port)
        for _ in range(20):
            for number in (1, 2):
                assert world.visit(f"app{number}", "/bytes/100").status == 200
        assert world.visit("nobody").error == "unknown_host"
    shown = json.loads(world.run("status", "--json").out)
    status = next(one for one in shown if one["program"] == "server")
    assert len(status["sessions"]) == 2
    assert len(status["tunnels"]) == 2
    assert [worker["worker"] for worker in status["workers"]] == [1, 2]


def test_a_killed_worker_ends_only_its_own_relays_and_its_agents_reconnect_within_a_second(world: World) -> None:
    server = world.start_server()
    with RawOrigin(answering_after_the_end) as origin:
        agents = two_agents(world, server, "tcp", origin.port)
        ports = [port_of(agent) for agent in agents]
        visitors = [socket.create_connection(("127.0.0.1", port), DEADLINE_S) for port in ports]
        data = random.Random(7).randbytes(50_000_000)
        visitors[0].sendall(data[:1_000_000])
        survivor = visitors[1]
        survivor.sendall(data[:1_000_000])
        sender = threading.Thread(target=send_all, args=(survivor, data[1_000_000:]))
        sender.start()
        victim = pid_of(server, 1)
        began = time.time()
        os.kill(victim, signal.SIGKILL)
        with visitors[0] as doomed, pytest.raises(ConnectionResetError):
            read_to_end(doomed)
        with survivor:
            assert read_to_end(survivor) == hashlib.sha256(data).digest()
        sender.join(DEADLINE_S)
        until(agents[0], "tunnel_up", 2)
        assert world.call(ports[0], data) == hashlib.sha256(data).digest()
        until(server, "worker_up", 3)
        back_s = came_back(server, began)
        print(f"back after {back_s * 1000:.0f} ms")
        assert back_s < BACK_S_MAX * 3  # for a machine that is busy with other tests; by itself it takes 0.2 s
        assert [event["worker"] for event in told(server, "worker_down")] == [1]
        assert port_of(agents[0]) == ports[0]
        assert not told(agents[1], "offline")


def came_back(server: Program, since: float) -> float:
    """Return when the last lease came up after `since`, in seconds."""
    import datetime as dt

    times = [dt.datetime.fromisoformat(str(event["time"])).timestamp() for event in told(server, "lease_up")]
    return max(times) - since


def test_a_held_visitor_is_handed_off_when_its_agent_reconnects_to_another_worker(world: World) -> None:
    server = world.start_server("--hold", "20s")
    with RawOrigin(answering_after_the_end) as origin, HttpOrigin() as pages:
        agents = two_agents(world, server, "tcp", origin.port)
        port = port_of(agents[0])
        join = world.token("pages")
        web = world.agent(join, "http", str(pages.port), "--name", "pages", *plain_flags(world), data="web")  # on worker 1
        web.expect("tunnel_up", DEADLINE_S)
        for agent in (agents[0], web):
            agent.kill()
        until(server, "session_down", 2)
        data = random.Random(8).randbytes(LONG_BYTES)
        visitor = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        browser = socket.create_connection(("127.0.0.1", world.http_port), DEADLINE_S)
        with visitor, browser:
            sender = threading.Thread(target=send_all, args=(visitor, data))
            sender.start()
            browser.sendall(request("pages", "/bytes/1000"))
            browser.shutdown(socket.SHUT_WR)
            # Two other agents make worker 1 the busier one, so that a returning agent goes to worker 2.
            crowd = world.token("crowd")
            for number in (1, 2):
                world.agent(crowd, "tcp", str(origin.port), *plain_flags(world), data=f"crowd{number}").expect("tunnel_up", DEADLINE_S)
            time.sleep(1.2)  # the dealer counts deals of the last second
            laptop = next(path for path in sorted(world.home.glob("join-*")))
            assert laptop.exists()
            words = ["--join-file", str(laptop), "--data", str(world.home / "agent1"), "--json", *plain_flags(world)]
            world.start("tcp", str(origin.port), "--port", str(port), *words).expect("tunnel_up", DEADLINE_S)
            again = world.agent(join, "http", str(pages.port), "--name", "pages", *plain_flags(world), data="web")
            again.expect("tunnel_up", DEADLINE_S)
            assert read_to_end(visitor) == hashlib.sha256(data).digest()
            sender.join(DEADLINE_S)
            assert read_answer(browser)[0].startswith(b"HTTP/1.1 200")
            assert read_to_end(browser) == b""


def test_further_links_find_their_sessions_worker(world: World) -> None:
    server = world.start_server()

    def pour(sock: socket.socket) -> None:
        piece = bytes(1 << 16)
        while True:
            sock.sendall(piece)

    with RawOrigin(pour) as origin:
        agents = two_agents(world, server, "tcp", origin.port)
        for agent in agents:
            visitors = [socket.create_connection(("127.0.0.1", port_of(agent)), DEADLINE_S) for _ in range(2)]
            deadline = time.monotonic() + DEADLINE_S
            while not any("link opened" in line for line in list(agent.err.lines)):
                assert time.monotonic() < deadline, agent.transcript()
                for visitor in visitors:
                    visitor.recv(1 << 20)
            for visitor in visitors:
                reset(visitor)
            assert not any("further link failed" in line for line in agent.err.lines), agent.transcript()


def test_a_revoked_token_ends_sessions_on_every_worker(encrypted: World) -> None:
    world = encrypted
    server = world.start_server()
    with HttpOrigin() as origin:
        agents = two_agents(world, server, "http", origin.port)
        assert world.run("token", "revoke", "laptop", "--data", world.server_data).code == 0
        for agent in agents:
            assert agent.wait().code == 3
        until(server, "lease_down", 2)
        assert world.visit("app1").error == world.visit("app2").error == "unknown_host"


def test_a_name_on_another_worker_is_in_use_or_taken_over(encrypted: World) -> None:
    world = encrypted
    world.start_server()
    join, other = world.token(), world.token("other")
    holder = world.agent(join, "http", "1", "--name", "app", data="one")
    holder.expect("tunnel_up", DEADLINE_S)
    for number in range(2):  # on the other worker, then on the same
        thief = world.agent(other, "http", "1", "--name", "app", data=f"thief{number}", as_json=False)
        assert_refused(thief.wait(), "name_taken", "app.localhost")
        sibling = world.agent(join, "http", "1", "--name", "app", data="one", as_json=False)
        assert_refused(sibling.wait(), "name_in_use", "--takeover")
    heir = world.agent(join, "http", "1", "--name", "app", "--takeover", data="one")
    heir.expect("tunnel_up", DEADLINE_S)
    assert refusal(holder.wait())["code"] == "replaced"


def test_limits_of_token_and_tunnel_hold_in_any_worker(encrypted: World) -> None:
    world = encrypted
    server = world.start_server()
    with HttpOrigin() as origin:
        world.agent(world.token(), "http", str(origin.port), "--name", "app1", "--max-total-payload", "5kb").expect("tunnel_up", DEADLINE_S)
        until(server, "session_up")
        limited = world.token("limited", "--max-total-payload", "5000")
        world.agent(limited, "http", str(origin.port), "--name", "app2", data="limited").expect("tunnel_up", DEADLINE_S)
        for name in ("app1", "app2") * 3:
            assert len(world.visit(name, "/bytes?n=5000").body) == 5000
            assert world.visit(name, "/sink", method="POST", body=bytes(5001)).error == "body_too_large"
    done = until(server, "request_done", 12)
    assert {event["tunnel"] for event in done} == {1, 2}


def test_a_worker_that_is_stopped_drains_and_its_agents_move(encrypted: World) -> None:
    world = encrypted
    server = world.start_server()
    with RawOrigin(answering_after_the_end) as origin:
        agents = two_agents(world, server, "tcp", origin.port)
        port = port_of(agents[0])
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as visitor:
            visitor.sendall(b"half")
            time.sleep(0.2)
            os.kill(pid_of(server, 1), signal.SIGTERM)
            time.sleep(0.3)  # it drains now: takes no new visitor, and lets this one finish
            visitor.sendall(b" done")
            visitor.shutdown(socket.SHUT_WR)
            assert read_to_end(visitor) == hashlib.sha256(b"half done").digest()
        until(agents[0], "tunnel_up", 2)
        assert port_of(agents[0]) == port
        assert world.call(port, b"again") == hashlib.sha256(b"again").digest()
        until(server, "worker_up", 3)
        assert [event["reason"] for event in until(server, "worker_down")] == ["exit code 0"]
        assert not told(agents[1], "offline")


def test_a_worker_that_hangs_does_not_keep_others_from_serving(encrypted: World) -> None:
    world = encrypted
    server = world.start_server()
    with HttpOrigin() as origin:
        two_agents(world, server, "http", origin.port)
        victim = pid_of(server, 1)
        os.kill(victim, signal.SIGSTOP)
        try:
            enough = time.monotonic() + 2.5
            while time.monotonic() < enough:
                assert world.visit("app2", "/hello").status == 200
        finally:
            os.kill(victim, signal.SIGCONT)
        assert world.visit("app1", "/hello").status == 200
    assert not told(server, "worker_down")


def test_handing_visitors_off_leaks_no_descriptor(encrypted: World) -> None:
    world = encrypted
    server = world.start_server()

    def open_files() -> list[int]:
        return [len(list_of(Path(f"/proc/{pid}/fd"))) for pid in (server.pid, *pids)]

    with HttpOrigin() as origin:
        two_agents(world, server, "http", origin.port)
        pids = [pid_of(server, number) for number in (1, 2)]
        for number in (1, 2, 1, 2):
            world.visit(f"app{number}", "/hello")
        before = open_files()
        for number in (1, 2) * 50:
            assert world.visit(f"app{number}", "/hello").status == 200
        deadline = time.monotonic() + DEADLINE_S
        while any(now > then for now, then in zip(open_files(), before, strict=True)):
            assert time.monotonic() < deadline, (before, open_files())
            time.sleep(0.05)


@pytest.mark.parametrize("value", ["0", "-1", "65", "many", "1.5", "²"])
def test_an_invalid_number_of_workers_is_an_error(encrypted: World, value: str) -> None:
    done = encrypted.start("server", "--data", encrypted.server_data, f"--workers={value}").wait()

    assert done.code == 2
    assert done.out == ""
    assert "workers" in done.err
    assert "1 to 64" in done.err


def test_a_stop_drains_every_worker_and_leaves_no_process(encrypted: World) -> None:
    world = encrypted
    server = world.start_server()
    with RawOrigin(answering_after_the_end) as origin:
        agents = two_agents(world, server, "tcp", origin.port)
        ports = [port_of(agent) for agent in agents]
        pids = [pid_of(server, number) for number in (1, 2)]
        visitors = [socket.create_connection(("127.0.0.1", port), DEADLINE_S) for port in ports]
        for visitor in visitors:
            visitor.sendall(b"half")
        time.sleep(0.2)
        server.signal(signal.SIGTERM)
        until(server, "stopping")
        for visitor in visitors:
            with visitor:
                visitor.sendall(b" done")
                visitor.shutdown(socket.SHUT_WR)
                assert read_to_end(visitor) == hashlib.sha256(b"half done").digest()
        assert server.wait().code == 0
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        assert not told(server, "worker_down")  # workers that end with their server must not emit worker_down


def test_no_worker_outlives_a_supervisor_that_was_killed(encrypted: World) -> None:
    world = encrypted
    server = world.start_server()
    pids = [pid_of(server, number) for number in (1, 2)]
    server.kill()
    deadline = time.monotonic() + DEADLINE_S
    while [pid for pid in pids if Path(f"/proc/{pid}/fd").exists() and list_of(Path(f"/proc/{pid}/fd"))]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    again = world.start_server()  # the ports are free
    assert again.running


def list_of(folder: Path) -> list[Path]:
    """Return what is in a folder that may be going away."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []
