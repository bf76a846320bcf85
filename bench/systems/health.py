"""Waits until a system responds with the origin's own bytes, before it is measured."""

import socket
import time

from bench.errors import BenchError
from bench.load.http import SMALL_BODY, exchange
from bench.load.tls import Dialler
from bench.processes import Child, Processes
from bench.systems.base import Address, Published

TRY_S = 2.0
PAUSE_S = 0.05


def wait_for_listener(port: int, deadline_s: float, child: Child, host: str = "127.0.0.1") -> None:
    """Return once something accepts on `port` of `host`.

    Raises:
        BenchError: `child` exited, or nothing listened within `deadline_s`.
    """
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        if child.ended():
            break
        try:
            socket.create_connection((host, port), timeout=TRY_S).close()
            return
        except OSError:
            time.sleep(PAUSE_S)
    state = "ended" if child.ended() else f"did not listen on port {port} in {deadline_s:g} s"
    raise BenchError(f"{child.name} {state}; last output: {child.last_output()}")


def _answers(address: Address) -> str | None:
    try:
        with Dialler(address.port, *address.dial_words).connect(TRY_S) as sock:
            body = exchange(sock, address.authority)
    except (OSError, ValueError) as exc:
        return str(exc) or type(exc).__name__
    return None if body == SMALL_BODY else f"expected {SMALL_BODY!r}, got {body[:40]!r}"


def wait_until_healthy(published: Published, processes: Processes, deadline_s: float) -> None:
    """Return once all addresses respond as the origins do.

    Raises:
        BenchError: a process exited, or an address did not respond within `deadline_s`.
    """
    until = time.monotonic() + deadline_s
    for address in (published.web, published.bulk, published.tenant):
        while (reason := _answers(address)) is not None:
            processes.check()
            if time.monotonic() > until:
                raise BenchError(f"{address.authority} does not respond after {deadline_s:g} s: {reason}")
            time.sleep(PAUSE_S)
