"""Chooses the pump of one direction by the abilities of its channels: the only place that distinguishes kinds of channels."""

from portway.engine.channel import Channel
from portway.engine.pumps import CopyPump, PeekPump
from portway.engine.reactor import Reactor
from portway.engine.splice_pump import SplicePump


def choose_pump(
    reactor: Reactor, source: Channel, sink: Channel, *, may_splice: bool = True
) -> type[CopyPump] | type[PeekPump] | type[SplicePump]:
    """Return the kind of pump from `source` to `sink`; without `may_splice`, one whose bytes pass through this process."""
    if source.can_peek:
        return PeekPump
    return SplicePump if may_splice and source.can_splice and sink.can_splice and reactor.pipes.enabled else CopyPump
