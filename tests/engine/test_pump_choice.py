"""Which pump joins which channels."""

import pytest

from portway.engine.pipe_pool import can_splice
from portway.engine.pump_choice import choose_pump
from portway.engine.pumps import CopyPump, PeekPump
from portway.engine.splice_pump import SplicePump
from tests.kit.certificates import Identity
from tests.kit.channels import pair_of
from tests.kit.loops import EngineLoop

SOCKETS = SplicePump if can_splice else CopyPump


@pytest.mark.parametrize(
    ("source", "sink", "kind"),
    [
        ("tcp", "tcp", SOCKETS),
        ("unix", "tcp", SOCKETS),
        ("tcp", "unix", SOCKETS),
        ("tcp", "tls-server", CopyPump),
        ("tls-server", "tcp", CopyPump),
        ("tcp", "mux-tls-opened", CopyPump),
        ("mux-tls-opened", "tcp", PeekPump),
        ("memory", "tcp", PeekPump),
        ("tcp", "memory", CopyPump),
    ],
)
def test_the_pump_follows_from_both_channels(
    engine: EngineLoop, identity: Identity, source: str, sink: str, kind: type[CopyPump] | type[PeekPump]
) -> None:
    with pair_of(source, engine, identity) as left, pair_of(sink, engine, identity) as right:
        edge_triggered = engine.reactor.level_poller is None
        expected = kind if kind is not SplicePump or edge_triggered else CopyPump
        assert choose_pump(engine.reactor, left.near, right.near) is expected


def test_relays_copy_once_the_system_has_refused_to_splice(engine: EngineLoop, identity: Identity) -> None:
    with pair_of("tcp", engine, identity) as left, pair_of("tcp", engine, identity) as right:
        engine.reactor.pipes.disable()
        assert choose_pump(engine.reactor, left.near, right.near) is CopyPump
