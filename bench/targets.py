"""Performance targets of Portway, relative to its peers, and their check against a run."""

from dataclasses import dataclass

from bench.results import Results
from bench.systems.catalog import (
    BORE,
    CADDY_HTTPS,
    FRP_PLAIN,
    FRP_TCP,
    FRP_VHOST,
    HAPROXY_HOP,
    HAPROXY_HTTP,
    HAPROXY_HTTPS,
    HAPROXY_TCP,
    PORTWAY_HTTP,
    PORTWAY_HTTPS,
    PORTWAY_PLAIN,
    PORTWAY_TCP,
    PORTWAY_TCP_PASSED,
    PORTWAY_TLS,
    PROXY_CONNECT,
    PROXY_SOCKS5,
    RATHOLE_PLAIN,
    RATHOLE_TLS,
)
from bench.systems.forward_proxies import DANTE, MICROSOCKS, SQUID, TINYPROXY
from bench.systems.links import NetworkPath

TLS, PLAIN, HTTP = PORTWAY_TCP.name, PORTWAY_PLAIN.name, PORTWAY_HTTP.name
BULK = ("bulk-down-1", "bulk-up-1", "bulk-down-8", "bulk-up-8")


@dataclass(frozen=True, slots=True)
class Target:
    """A required ratio of one Portway figure to the best of some peers."""

    system: str
    key: str
    peers: tuple[str, ...]
    ratio: float
    at_least: bool = True
    """False: the ratio is an upper limit (costs, delays)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and its result in a run."""

    target: Target
    peer: str
    """The best measured peer, "" without any."""

    ratio: float | None
    """None when one of the two was not measured."""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None when it was not measured."""
        if self.ratio is None:
            return None
        return self.ratio >= self.target.ratio if self.target.at_least else self.ratio <= self.target.ratio


@dataclass(frozen=True, slots=True)
class Bound:
    """An absolute limit of a figure."""

    system: str
    key: str
    limit: float
    at_least: bool = False
    """False: an upper limit."""

    def is_met_by(self, value: float) -> bool:
        """Return whether `value` is within the limit."""
        return value >= self.limit if self.at_least else value <= self.limit


def _each(keys: tuple[str, ...], system: str, peers: tuple[str, ...], ratio: float) -> tuple[Target, ...]:
    return tuple(Target(system, key, peers, ratio) for key in keys)


def _cost(keys: tuple[str, ...], system: str, peers: tuple[str, ...], ratio: float) -> tuple[Target, ...]:
    return tuple(Target(system, f"{key}-cpu", peers, ratio, at_least=False) for key in keys)


_TLS_PEER, _PLAIN_PEER, _VHOST_PEER = (RATHOLE_TLS.name,), (RATHOLE_PLAIN.name,), (FRP_VHOST.name,)
_PLAIN_PEERS = (RATHOLE_PLAIN.name, BORE.name, FRP_TCP.name, FRP_PLAIN.name)

FIRST = (
    *_each(BULK, TLS, _TLS_PEER, 1.0),
    Target(TLS, "keepalive", _TLS_PEER, 0.9),
    Target(TLS, "connections", _TLS_PEER, 2.0),
    *_each(BULK, PLAIN, _PLAIN_PEER, 1.0),
    Target(HTTP, "keepalive", (HAPROXY_HTTP.name,), 0.3),
)
"""Targets of the first version."""

ENGINE = (
    *_each(BULK, TLS, _TLS_PEER, 1.6),
    *_cost(BULK, TLS, _TLS_PEER, 0.65),
    *_each(BULK, PLAIN, _PLAIN_PEERS, 1.3),
    *_each(BULK, PLAIN, (HAPROXY_TCP.name,), 0.8),
    Target(TLS, "keepalive", _TLS_PEER, 1.15),
    Target(TLS, "keepalive", _PLAIN_PEER, 0.95),
    Target(HTTP, "keepalive", _VHOST_PEER, 5.0),
    Target(HTTP, "keepalive", (HAPROXY_HTTP.name,), 0.8),
    Target(TLS, "connections", _TLS_PEER, 6.0),
    Target(TLS, "connections", _PLAIN_PEER, 0.9),
    Target(HTTP, "connections", _VHOST_PEER, 1.0),
    Target(TLS, "latency-alone-p50", _TLS_PEER, 1.1, at_least=False),
    Target(TLS, "latency-alone-p99", _TLS_PEER, 1.1, at_least=False),
    Target(TLS, "latency-beside-p99", _TLS_PEER, 0.7, at_least=False),
    Target(TLS, "latency-tenant-p99", _TLS_PEER, 0.7, at_least=False),
)
"""Targets of the engine."""

NETWORK_PATH = NetworkPath()
QUEUE_MS_MAX = 60  # that a tunnel may add to the round trip of the path
GROWTH_MB_MAX = 16.0  # for windows, pools and buffers; most of the 10 GB must stay at the sender

ENGINE_BOUNDS = (
    *(Bound(TLS, f"far-{way}", 0.9, at_least=True) for way in ("down", "up")),
    *(Bound(TLS, f"far-{way}-p99", 1000 * NETWORK_PATH.rtt_s + QUEUE_MS_MAX) for way in ("down", "up")),
    Bound(TLS, "idle", 4.0),
    Bound(HTTP, "idle", 8.0),
    *(Bound(system, "crowd-lost", 0) for system in (TLS, HTTP)),
    *(Bound(system, f"stall-{way}-memory", GROWTH_MB_MAX) for system in (TLS, HTTP) for way in ("down", "up")),
    *(Bound(system, f"stall-{way}-times", 1.3) for system in (TLS, HTTP) for way in ("down", "up")),
)
"""Absolute limits of the engine."""

HTTPS, PASSTHROUGH = PORTWAY_HTTPS.name, PORTWAY_TLS.name
HANDSHAKES = ("handshakes-full", "handshakes-resumed")
VISITORS_TLS = (
    *_each(("keepalive", *BULK), HTTPS, (HAPROXY_HTTPS.name,), 0.85),
    *_each(("keepalive", *BULK), HTTPS, (CADDY_HTTPS.name,), 1.2),
    *_each(tuple(f"{key}-cpu" for key in HANDSHAKES), HTTPS, (HAPROXY_HTTPS.name,), 0.7),
    *_each(("keepalive", *HANDSHAKES, *BULK), PASSTHROUGH, (PORTWAY_TCP_PASSED.name,), 0.95),
)
"""Targets with visitors that use TLS."""

VISITORS_TLS_BOUNDS = (Bound(HTTPS, "idle", 30.0),)
"""Absolute limits with visitors that use TLS."""

PROXIES = (PROXY_CONNECT.name, PROXY_SOCKS5.name)
_OTHER_PROXIES = (TINYPROXY.name, SQUID.name, MICROSOCKS.name, DANTE.name)
FORWARD_PROXIES = tuple(
    target
    for system in PROXIES
    for target in (
        Target(system, "tunnels-new", (MICROSOCKS.name,), 0.8),
        Target(system, "tunnels-new", (TINYPROXY.name, SQUID.name), 1.0),
        Target(system, "tunnels-kept", (HAPROXY_HOP.name, *_OTHER_PROXIES), 1.0),
        *_each(BULK, system, (HAPROXY_HOP.name,), 0.95),
        *_each(BULK, system, _OTHER_PROXIES, 1.0),
    )
)
"""Targets of the forward proxy."""

FORWARD_PROXIES_BOUNDS = tuple(Bound(system, "idle", 4.0) for system in PROXIES)
"""Absolute limits of the forward proxy."""

TARGET_SETS: dict[str, tuple[tuple[Target, ...], tuple[Bound, ...]]] = {
    "first": (FIRST, ()),
    "engine": (ENGINE, ENGINE_BOUNDS),
    "tls": (VISITORS_TLS, VISITORS_TLS_BOUNDS),
    "proxies": (FORWARD_PROXIES, FORWARD_PROXIES_BOUNDS),
}
"""Targets and bounds by the name for `--targets`."""


def judge(target: Target, results: Results) -> Verdict:
    """Compare a figure with the best of the measured peers."""
    rows = {peer: value for peer in target.peers if (value := results.value(peer, target.key))}
    ours = results.value(target.system, target.key)
    if not rows or ours is None:
        return Verdict(target, "", None)
    best = max(rows, key=rows.__getitem__) if target.at_least else min(rows, key=rows.__getitem__)
    return Verdict(target, best, ours / rows[best])
