"""Errors of accept(2), injected into a running server by strace: no listener stalls, and nothing is logged as a failure of ours."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.world import World, event
from tests.kit.origins import RawOrigin, echo
from tests.kit.programs import Program

FAILURES = 3
"""Errors in a row of each listener: the third try takes the visitor in."""


@contextmanager
def failing_accept(program: Program, error: str) -> Iterator[None]:
    """Let the next accepts of `program` fail; the connections stay in the backlog."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    # strace counts for each thread, and a server accepts in one: all listeners share the count.
    inject = f"inject=accept4:error={error}:when=1..{FAILURES}"
    with Program([strace, "-p", str(program.pid), "-e", "trace=accept4", "-e", inject], name="strace") as tracer:
        if tracer.err.wait_for("attached", 10) is None:
            pytest.skip(f"strace cannot attach here: {tracer.transcript()}")
        yield
        assert tracer.err.wait_for(r"INJECTED", 10), "the error never came"


@pytest.mark.parametrize("error", ["ENETDOWN", "EHOSTUNREACH", "ENONET", "EPERM", "EIO"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_visitor_is_accepted_after_a_failed_accept(error: str, workers: str) -> None:
    with World(server_flags=("--workers", workers)) as world, RawOrigin(echo) as origin:
        server = world.start_server()
        agent = world.agent(world.token(), "tcp", str(origin.port))
        port = event(agent, "tunnel_up")["port"]
        if workers == "1":  # the supervisor accepts agents only
            with failing_accept(server, error):
                assert world.call(port, b"hello") == b"hello"
        with failing_accept(server, error):
            late = world.agent(world.token("late"), "tcp", str(origin.port), data="late")
            assert world.call(event(late, "tunnel_up")["port"], b"hello") == b"hello"


def test_the_status_socket_answers_after_errors_of_accept() -> None:
    with World() as world:
        server = world.start_server()
        with failing_accept(server, "EMFILE"):
            asked = world.start("status", "--json")
            assert json.loads(asked.wait().out)[0]["program"] == "server"
