"""How a link behaves."""

from dataclasses import dataclass, field

from portway.engine.memory_budget import MemoryBudget
from portway.mux.heartbeat import HeartbeatSettings
from portway.mux.kept import KEPT_BYTES_MAX
from portway.protocol.yamux.session import YamuxLimits

SMALL_OUT_BYTES_MAX = 256 * 1024
"""Small frames that may gather behind a busy link; beyond, their streams wait as bulk does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MuxSettings:
    """How a link behaves, on both ends."""

    limits: YamuxLimits = field(default_factory=lambda: YamuxLimits(unacknowledged_max=4096))
    """What the peer may ask. Portway's own ends answer every open at once, so as many as fit may be unanswered."""
    heartbeat: HeartbeatSettings = field(default_factory=HeartbeatSettings)
    """How fast a silent link is noticed."""
    kept_bytes_max: int = KEPT_BYTES_MAX
    """What stalled readers of the link may keep in memory together."""
    kept_total: MemoryBudget | None = None
    """What those of all links may; shared by the links of a process."""
