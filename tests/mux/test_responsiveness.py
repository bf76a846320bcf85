"""A link is silent before it is lost."""

from portway.mux.mux import Mux
from portway.mux.responsiveness import SILENT_S, is_silent
from portway.mux.settings import MuxSettings
from tests.kit.loops import EngineLoop
from tests.kit.yamux_peer import RawPeer


def test_a_link_is_silent_once_a_ping_is_unanswered_and_when_it_is_lost(engine: EngineLoop) -> None:
    peer = RawPeer(engine, mux_is_client=True)
    mux: Mux = peer.mux
    now = mux.received_at
    assert not is_silent(mux, now + SILENT_S - 0.1)
    assert is_silent(mux, now + SILENT_S + 0.1)
    mux.abort()
    assert is_silent(mux, now)
    engine.settle()
    peer.sock.close()


def test_a_working_link_is_never_silent_and_a_lost_one_always_is() -> None:
    heartbeat = MuxSettings().heartbeat
    assert heartbeat.ping_every_s + 1 < SILENT_S < heartbeat.silence_s_max
