"""The yamux frame: a header of 12 bytes, and a body for Data only.

Wire, big-endian: version u8 | type u8 | flags u16 | stream id u32 | length u32.
Source: hashicorp/yamux spec.md, "Framing".
"""

import struct

HEADER = struct.Struct("!BBHII")
"""version, type, flags, stream id, length."""
HEADER_BYTES = HEADER.size

VERSION = 0

DATA = 0
"""`length` bytes of body follow."""
WINDOW_UPDATE = 1
"""`length` is the additional credit that the sender of this frame grants."""
PING = 2
"""`length` is an opaque value, sent with SYN and echoed with ACK. Stream id 0."""
GO_AWAY = 3
"""`length` is one of the GO_AWAY_… codes. Stream id 0."""

SYN = 1
"""First frame of a new stream; on a ping, the request."""
ACK = 2
"""The stream is accepted; on a ping, the reply."""
FIN = 4
"""No more data from the sender of this frame."""
RST = 8
"""Both directions are reset."""
UNTOUCHED = 16
"""Portway's own, with FIN or RST from an agent: since the last byte from the origin nothing was written to it, and nothing will
be. Other implementations ignore it (docs/wire.md, section 9)."""
SWITCHED = 32
"""Portway's own, on a WindowUpdate from a server: the stream no longer carries HTTP, and its directions may end separately."""

GO_AWAY_NORMAL = 0
GO_AWAY_PROTOCOL_ERROR = 1
GO_AWAY_INTERNAL_ERROR = 2

INITIAL_WINDOW_BYTES = 256 * 1024
"""Window of every stream before the first update, in both directions; it cannot be smaller."""
LENGTH_MAX = 2**32 - 1

encode = HEADER.pack
"""`encode(version, type, flags, stream_id, length)` returns the 12 bytes."""
