"""How a link behaves."""

from dataclasses import dataclass, field

from portway.engine.channel import HEADROOM_BYTES
from portway.engine.memory_budget import MemoryBudget
from portway.mux.buffer_budget import SESSION_BYTES_MAX
from portway.mux.heartbeat import HeartbeatSettings
from portway.protocol.yamux.limits import YamuxLimits

FRAME_BYTES_ALONE = 256 * 1024 - HEADROOM_BYTES
"""A bulk frame and its header fill 16 TLS records, and one read at the other end."""
FRAME_BYTES_SHARED = 64 * 1024 - HEADROOM_BYTES
"""Bulk frames are this short while other streams send small ones: those wait for one of them at most (ADR 0004)."""
SHARED_FOR_S = 0.1
"""How long a link counts as shared after a small frame."""
EARLY_FLUSH_BYTES = 2500
"""Small frames that do not wait for the end of the batch: in a batch of sixty visitors the far end would have nothing to do
until the last of them is through here. Measured: 1500 costs requests what it gives connections, 8000 gives neither much."""
SMALL_OUT_BYTES_MAX = 256 * 1024
"""Small frames that may gather behind a busy link; beyond, their streams wait as bulk does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MuxSettings:
    """How a link behaves, on both ends."""

    limits: YamuxLimits = field(default_factory=lambda: YamuxLimits(unacknowledged_max=4096))
    """What the peer may ask. Portway's own ends answer every open at once, so as many as fit may be unanswered."""
    heartbeat: HeartbeatSettings = field(default_factory=HeartbeatSettings)
    """How fast a silent link is noticed."""
    buffered_bytes_max: int = SESSION_BYTES_MAX
    """What stalled readers of the link may keep in memory together."""
    bytes_before_login: int = 0
    """What is read of a peer before `Mux.admit`; 0: as much as it sends. No limit of frames needs to stand beside it."""
    process_budget: MemoryBudget | None = None
    """What those of all links may; shared by the links of a process."""
