"""Runs the heartbeat of one link: checks it every second, sends its pings, and reports a silent peer."""

from collections.abc import Callable

from portway.clock import Clock
from portway.engine.reactor import Reactor
from portway.engine.timers import Timer
from portway.mux.heartbeat import Heartbeat, HeartbeatSettings
from portway.protocol.yamux.session import Session

CHECK_EVERY_S = 1.0
"""Interval of the checks."""


class LinkWatchdog:
    """Runs from `beat` until `stop`, or until the link was silent for too long: then `on_silence` is called with the reason."""

    def __init__(
        self, reactor: Reactor, session: Session, settings: HeartbeatSettings, clock: Clock, on_silence: Callable[[str], None]
    ) -> None:
        """Send pings with `session`, whose pongs must go to `on_pong`."""
        self.heartbeat = Heartbeat(settings, clock())
        self._reactor = reactor
        self._session = session
        self._clock = clock
        self._on_silence = on_silence
        self._timer: Timer | None = None
        self._stopped = False
        self._beat_at = clock()

    def ping(self, on_pong: Callable[[float], None]) -> None:
        """Send a ping; `on_pong` gets the round trip in seconds if the peer replies."""
        if not self._stopped:
            self._session.ping(self.heartbeat.ping(self._clock(), on_pong))

    def on_pong(self, value: int) -> None:
        """Handle a pong."""
        now = self._clock()
        self.heartbeat.on_pong(value, now)
        self._session.rtt_s = self.heartbeat.rtt_s(now)

    def beat(self) -> None:
        """Check whether the peer is silent or a ping is due, now and every second from now on."""
        if self._stopped:
            return
        now = self._clock()
        # Time in which this process was suspended (SIGSTOP, a sleeping laptop) does not count as silence of the peer.
        self.heartbeat.exclude_pause(now - self._beat_at - CHECK_EVERY_S)
        self._beat_at = now
        if self.heartbeat.is_lost(now):
            self._on_silence(f"nothing received from the other end for {self.heartbeat.silent_for_s(now):.0f} s")
            return
        value = self.heartbeat.next_ping(now)
        if value is not None:
            self._session.ping(value)
        self._timer = self._reactor.call_later(CHECK_EVERY_S, self.beat)

    def stop(self) -> None:
        """Stop, and drop all callbacks: the link is lost."""
        self._stopped = True
        self._on_silence = _ignore
        if self._timer is not None:
            self._timer.cancel()
        self.heartbeat.forget_callbacks()


def _ignore(_reason: str) -> None:
    """Do nothing: the callback after `stop`."""
