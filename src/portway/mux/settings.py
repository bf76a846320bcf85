"""Settings of a link."""

from dataclasses import dataclass, field

from portway.engine.channel import HEADROOM_BYTES
from portway.engine.memory_budget import MemoryBudget
from portway.mux.buffer_budget import SESSION_BYTES_MAX
from portway.mux.heartbeat import HeartbeatSettings
from portway.protocol.yamux.limits import YamuxLimits

FRAME_BYTES_ALONE = 256 * 1024 - HEADROOM_BYTES
"""A bulk frame with its header fills 16 TLS records, and one read at the other end."""
FRAME_BYTES_SHARED = 64 * 1024 - HEADROOM_BYTES
"""Maximum while other streams send small frames, which wait for at most one bulk frame (ADR 0004)."""
SHARED_FOR_S = 0.1
"""How long a link counts as shared after a small frame."""
EARLY_FLUSH_BYTES = 2500
"""Small frames that do not wait for the end of the round: in a round with sixty visitors the other end would be idle until the last one
is handled here. Measured: 1500 costs requests what it gains for connections, 8000 gains little for either."""
SMALL_OUT_BYTES_MAX = 256 * 1024
"""Small frames that may be queued on a blocked link; beyond that, their streams wait like those with bulk data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MuxSettings:
    """Settings of a link, for both ends."""

    limits: YamuxLimits = field(default_factory=lambda: YamuxLimits(unacknowledged_max=4096))
    """Limits for the peer. Portway acknowledges every open at once, so as many may be unacknowledged as can be open."""
    heartbeat: HeartbeatSettings = field(default_factory=HeartbeatSettings)
    """Timing of the detection of silent links."""
    buffered_bytes_max: int = SESSION_BYTES_MAX
    """Bytes that stalled readers of the link may buffer in total."""
    bytes_before_login: int = 0
    """Bytes accepted from a peer before `Mux.admit`; 0: no limit. This also bounds the number of frames."""
    process_budget: MemoryBudget | None = None
    """The same for all links of a process, which share this budget."""
