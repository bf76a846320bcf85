"""Keeps the heartbeat of one link going: asks it every second, sends its pings, and says when the peer is silent."""

from collections.abc import Callable

from portway.clock import Clock
from portway.engine.reactor import Reactor
from portway.engine.timers import Timer
from portway.mux.heartbeat import Heartbeat, HeartbeatSettings
from portway.protocol.yamux.session import Session

CHECK_EVERY_S = 1.0
"""How often the heartbeat is asked."""


class Pulse:
    """Runs from `beat` until `stop`, or until the link is silent for too long: `on_silence` is called then, with the reason."""

    def __init__(
        self, reactor: Reactor, session: Session, settings: HeartbeatSettings, clock: Clock, on_silence: Callable[[str], None]
    ) -> None:
        """Ping through `session`, which has to pass pongs on to `on_pong`."""
        self.heartbeat = Heartbeat(settings, clock())
        self._reactor = reactor
        self._session = session
        self._clock = clock
        self._on_silence = on_silence
        self._timer: Timer | None = None
        self._stopped = False
        self._beat_at = clock()

    def ping(self, on_pong: Callable[[float], None]) -> None:
        """Ping now; `on_pong` gets the round trip in seconds when the peer answers, else nothing."""
        if not self._stopped:
            self._session.ping(self.heartbeat.ping(self._clock(), on_pong))

    def on_pong(self, value: int) -> None:
        """Take a pong."""
        now = self._clock()
        self.heartbeat.on_pong(value, now)
        self._session.rtt_s = self.heartbeat.rtt_s(now)

    def beat(self) -> None:
        """Look whether the peer is silent or a ping is due, now and every second from now on."""
        if self._stopped:
            return
        now = self._clock()
        # What passed while this process itself stood still (SIGSTOP, a laptop's sleep) is not the peer's silence.
        self.heartbeat.exclude_pause(now - self._beat_at - CHECK_EVERY_S)
        self._beat_at = now
        if self.heartbeat.is_lost(now):
            self._on_silence(f"nothing heard from the other end for {self.heartbeat.silent_for_s(now):.0f} s")
            return
        value = self.heartbeat.next_ping(now)
        if value is not None:
            self._session.ping(value)
        self._timer = self._reactor.call_later(CHECK_EVERY_S, self.beat)

    def stop(self) -> None:
        """Let go of everybody: the link is lost."""
        self._stopped = True
        self._on_silence = _ignore
        if self._timer is not None:
            self._timer.cancel()
        self.heartbeat.forget_callbacks()


def _ignore(_reason: str) -> None:
    """Stand in for the owner of a link that is lost."""
