"""Chooses the pump of one direction by the abilities of its channels: the only place that distinguishes kinds of channels."""

from portway.engine.channel import Channel
from portway.engine.pumps import CopyPump, PeekPump
from portway.engine.reactor import Reactor
from portway.engine.splice_pump import SplicePump


def choose_pump(reactor: Reactor, source: Channel, sink: Channel) -> type[CopyPump] | type[PeekPump] | type[SplicePump]:
    """Return the kind of pump from `source` to `sink`."""
    if source.can_peek:
        return PeekPump
    return SplicePump if source.can_splice and sink.can_splice and reactor.pipes.enabled else CopyPump
