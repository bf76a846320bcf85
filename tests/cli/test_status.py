"""`portway status` queries the running processes."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portway.agent.events import InspectorUp, LinksChanged, Online, RelayDone, RequestLine, TunnelUp
from portway.agent.status import AgentStatusTracker
from portway.clock import wall
from portway.edge.events import VisitorsTurnedAway
from portway.forward.events import ClientDone
from portway.forward.events import Listening as ForwardListening
from portway.forward.outcomes import Outcome
from portway.forward.status import ForwardStatusTracker
from portway.server.events import LeaseUp, Listening, LoginRefused, SessionUp
from portway.server.events import LinksChanged as ServerLinksChanged
from portway.server.reporting.status import ServerStatusTracker
from tests.cli.conftest import Portway


@contextmanager
def program(path: Path, document: bytes) -> Iterator[None]:
    """Serve one connection, as a running process would."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            client, _ = listener.accept()
            client.sendall(document)
            client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)


@pytest.fixture
def folder(home: Path) -> Path:
    path = home / "XDG_RUNTIME_DIR" / "portway"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def agent() -> AgentStatusTracker:
    tracker = AgentStatusTracker("127.0.0.1:4443", wall)
    tracker(Online("s1", "0.1.0", 0.002))
    tracker(TunnelUp(1, "http://app.localhost:8080", "app", 0, "127.0.0.1:3000"))
    tracker(RequestLine("GET", "/", 200, 0.1, 1))
    tracker(TunnelUp(2, "tcp://127.0.0.1:20001", "", 20001, "127.0.0.1:22"))
    tracker(TunnelUp(3, "tcp://127.0.0.1:20002", "", 20002, "127.0.0.1:23"))
    tracker(RelayDone(2, 10, 20, 1.0, "closed"))
    return tracker


@pytest.fixture
def server() -> ServerStatusTracker:
    tracker = ServerStatusTracker(wall)
    tracker(Listening("127.0.0.1:8080", "127.0.0.1:4443", "127.0.0.1:4443", "20000-20999", "localhost"))
    tracker(SessionUp("s1", "laptop", "0.1.0", "127.0.0.1:5"))
    tracker(LeaseUp("s1", 1, "http", "http://app.localhost:8080"))
    return tracker


def test_no_running_processes_is_not_an_error(portway: Portway) -> None:
    done = portway("status")

    assert (done.exit_code, done.stdout) == (0, "No Portway processes of yours are running.\n")
    assert portway("status", "--json").stdout == "[]\n"


def test_servers_and_agents_are_shown_with_their_tunnels(
    portway: Portway, folder: Path, agent: AgentStatusTracker, server: ServerStatusTracker
) -> None:
    with program(folder / "server-2.sock", server.to_json()), program(folder / "agent-1.sock", agent.to_json()):
        done = portway("status")

    lines = done.stdout.splitlines()
    assert done.exit_code == 0
    assert "*.localhost at 127.0.0.1:8080, agents at 127.0.0.1:4443, 1 logged in" in lines[0]
    assert lines[1] == "  http://app.localhost:8080  agent laptop"
    assert "server 127.0.0.1:4443, 2ms away" in lines[2]
    assert lines[3:] == [
        "  http://app.localhost:8080  127.0.0.1:3000  1 request",
        "  tcp://127.0.0.1:20001      127.0.0.1:22    1 relay, 10 B in, 20 B out",
        "  tcp://127.0.0.1:20002      127.0.0.1:23    no visitors yet",
    ]


def test_the_inspector_of_an_agent_is_shown(portway: Portway, folder: Path, agent: AgentStatusTracker) -> None:
    agent(InspectorUp("http://127.0.0.1:4040/", "http://127.0.0.1:4040/?key=secret"))
    with program(folder / "agent-1.sock", agent.to_json()):
        done = portway("status")

    assert done.stdout.splitlines()[-1] == "  inspector at http://127.0.0.1:4040/"


def test_visitors_rejected_at_capacity_are_shown(portway: Portway, folder: Path, server: ServerStatusTracker) -> None:
    server(VisitorsTurnedAway(12, 500, 512, "http"))
    with program(folder / "server-2.sock", server.to_json()):
        lines = portway("status").stdout.splitlines()

    assert lines[1] == "  12 visitors rejected at capacity"


def test_refused_logins_are_shown(portway: Portway, folder: Path, server: ServerStatusTracker) -> None:
    server(LoginRefused("127.0.0.1:7", "bad_credentials", 3))
    with program(folder / "server-2.sock", server.to_json()):
        lines = portway("status").stdout.splitlines()

    assert lines[1] == "  3 logins refused, 0 connections closed before login"


def test_the_number_of_links_is_shown(portway: Portway, folder: Path, agent: AgentStatusTracker, server: ServerStatusTracker) -> None:
    agent(LinksChanged(3, 1))
    server(ServerLinksChanged("s1", 3))
    with program(folder / "server-2.sock", server.to_json()), program(folder / "agent-1.sock", agent.to_json()):
        lines = portway("status").stdout.splitlines()

    assert lines[0].endswith("1 logged in over 3 links")
    assert lines[2].endswith("2ms away, 3 links, 1 draining")


def test_the_status_as_json(portway: Portway, folder: Path, agent: AgentStatusTracker) -> None:
    with program(folder / "agent-1.sock", agent.to_json()):
        done = portway("status", "--json")

    (found,) = json.loads(done.stdout)
    assert (found["program"], found["state"], found["tunnels"][0]["url"]) == ("agent", "online", "http://app.localhost:8080")


def test_the_socket_of_a_killed_process_is_removed(portway: Portway, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "agent-1.sock"))

    assert portway("status").exit_code == 0
    assert list(folder.iterdir()) == []


def test_an_unexpected_reply_is_an_error_and_the_others_are_shown(portway: Portway, folder: Path, agent: AgentStatusTracker) -> None:
    with program(folder / "agent-1.sock", agent.to_json()), program(folder / "agent-2.sock", b"hello"):
        done = portway("status")

    assert done.exit_code == 1
    assert "app.localhost" in done.stdout
    assert "unexpected reply; it may be a different version of Portway" in done.stderr


def test_a_forward_proxy_shows_its_results(portway: Portway, folder: Path) -> None:
    tracker = ForwardStatusTracker(wall)
    tracker(ForwardListening("127.0.0.1:8080", tls=False, users=False))
    tracker(ClientDone("x", Outcome.DNS_FAILED, "http", 1.0, None, None, ""))
    with program(folder / "proxy-1.sock", tracker.to_json()):
        out = portway("status").stdout
    assert "at 127.0.0.1:8080" in out
    assert "1 dns failed; 0 B up, 0 B down" in out
