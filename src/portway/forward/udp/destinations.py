"""Where the datagrams of one association may be sent: targets are judged, resolved and judged again, and remembered for seconds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, Protocol

from portway.clock import Clock

KNOWN_MAX = 128
"""Judged targets of one association; the oldest is judged again. A resolver needs one, a game or a call a dozen."""
KNOWN_S = 5.0
"""How long a verdict is used: after a change of lists, datagrams reach a target for that long at most."""
WAITING_NAMES_MAX = 16
"""Names of one association that are being resolved."""
WAITING_BYTES_MAX = 64 * 1024
"""Datagrams of one association that wait for an address: the largest possible one, or 50 of the usual size."""

Address = IPv4Address | IPv6Address
Send = Callable[[list[Address], int, "bytes | memoryview"], None]
"""Sends a payload to the first address that can be reached, at a port."""
OnJudged = Callable[["list[Address] | str"], None]
"""Gets the addresses that were judged, in the order to try them, or why there is none: one of the keys of `DROPS`."""


class Judge(Protocol):
    """Decides about the targets of one user."""

    def __call__(self, host: str, port: int, on_judged: OnJudged, /) -> None:
        """Call `on_judged` with the addresses of a target that may be reached: at once if nothing has to be resolved."""


class _Verdict(NamedTuple):
    addresses: list[Address]
    reason: str
    until: float


@dataclass(slots=True)
class _Waiting:
    """Datagrams to a target whose addresses are not known yet."""

    port: int
    payloads: list[bytes] = field(default_factory=list)


class Destinations:
    """The targets of one association."""

    __slots__ = ("_clock", "_closed", "_drop", "_judge", "_known", "_send", "_waiting", "_waiting_bytes")

    def __init__(self, judge: Judge, send: Send, drop: Callable[[str], None], clock: Clock) -> None:
        """Judge new targets with `judge`, call `send` for datagrams with a destination, and `drop` with the reason for others."""
        self._clock = clock
        self._judge = judge
        self._send = send
        self._drop = drop
        self._known: dict[bytes, _Verdict] = {}
        self._waiting: dict[bytes, _Waiting] = {}
        self._waiting_bytes = 0
        self._closed = False

    @property
    def waiting_bytes(self) -> int:
        """Bytes of datagrams that wait for an address."""
        return self._waiting_bytes

    def submit(self, key: bytes, target: tuple[str, int], payload: memoryview) -> None:
        """Send or drop a datagram, at once or when its target was judged; `key` is equal for equal targets."""
        verdict = self._known.get(key)
        if verdict is not None and self._clock() < verdict.until:
            self._apply(verdict, target[1], payload)
            return
        waiting = self._waiting.get(key)
        if self._waiting_bytes + len(payload) > WAITING_BYTES_MAX or (waiting is None and len(self._waiting) >= WAITING_NAMES_MAX):
            self._drop("waiting")
            return
        if waiting is None:
            waiting = self._waiting[key] = _Waiting(target[1])
            self._keep(waiting, payload)
            self._judge(target[0], target[1], partial(self._on_judged, key))
        else:
            self._keep(waiting, payload)

    def close(self) -> None:
        """Drop what waits; nothing is sent any more."""
        self._closed = True
        self._waiting.clear()
        self._known.clear()
        # The callbacks refer to the association, which refers to this object.
        self._send, self._drop, self._judge = _ignore_datagram, _ignore_reason, _judge_nothing

    def _keep(self, waiting: _Waiting, payload: memoryview) -> None:
        waiting.payloads.append(bytes(payload))
        self._waiting_bytes += len(payload)

    def _on_judged(self, key: bytes, found: list[Address] | str) -> None:
        if self._closed:
            return
        waiting = self._waiting.pop(key)
        until = self._clock() + KNOWN_S
        verdict = _Verdict([], found, until) if isinstance(found, str) else _Verdict(found, "", until)
        self._known.pop(key, None)
        if len(self._known) >= KNOWN_MAX:
            del self._known[next(iter(self._known))]
        self._known[key] = verdict
        for payload in waiting.payloads:
            self._waiting_bytes -= len(payload)
            self._apply(verdict, waiting.port, payload)

    def _apply(self, verdict: _Verdict, port: int, payload: bytes | memoryview) -> None:
        if verdict.reason:
            self._drop(verdict.reason)
        else:
            self._send(verdict.addresses, port, payload)


def _ignore_datagram(_addresses: list[Address], _port: int, _payload: bytes | memoryview) -> None:
    """Send nothing: the association has ended."""


def _ignore_reason(_reason: str) -> None:
    """Count nothing: the association has ended."""


def _judge_nothing(_host: str, _port: int, _on_judged: OnJudged) -> None:
    """Judge nothing: the association has ended."""
