"""A relay between two sockets in the test's own loop, which a test can pause, end (FIN), or reset."""

import asyncio
import socket
from collections.abc import Callable

from tests.kit.sockets import reset, tcp_pair, unix_pair

PIECE_BYTES = 64 * 1024
"""Most bytes that the cable buffers per direction."""


class CableDirection:
    """One direction of the cable."""

    def __init__(self, loop: asyncio.AbstractEventLoop, source: socket.socket, sink: socket.socket) -> None:
        """Forward from `source` to `sink` as soon as the loop runs."""
        self._loop, self._source, self._sink = loop, source, sink
        self._buffered = b""
        self._paused = False
        self._ended = False
        self.carried_bytes = 0
        self.captured = bytearray()
        self.piece_bytes = PIECE_BYTES
        """Largest piece forwarded at once; 1 cuts the stream everywhere."""
        self.mangle: Callable[[bytes], bytes] = lambda data: data
        """Applied to forwarded bytes, to corrupt them."""
        loop.add_reader(source, self._readable)

    def pause(self) -> None:
        """Stop forwarding."""
        self._paused = True
        self.stop()

    def resume(self) -> None:
        """Continue forwarding."""
        self._paused = False
        if self._buffered:
            self._loop.add_writer(self._sink, self._writable)
        elif not self._ended:
            self._loop.add_reader(self._source, self._readable)

    def stop(self) -> None:
        """Unregister from the loop."""
        if self._source.fileno() >= 0:
            self._loop.remove_reader(self._source)
        if self._sink.fileno() >= 0:
            self._loop.remove_writer(self._sink)

    def _readable(self) -> None:
        try:
            data = self._source.recv(self.piece_bytes)
        except BlockingIOError:
            return
        except OSError:
            self._ended = True
            self.stop()
            reset(self._sink)
            return
        if not data:
            self._ended = True
            self._loop.remove_reader(self._source)
            try:
                self._sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            return
        self.captured += data[: max(0, 1 << 20) - len(self.captured)] if len(self.captured) < 1 << 20 else b""
        self._buffered = self.mangle(data)
        self._writable()

    def _writable(self) -> None:
        try:
            sent = self._sink.send(self._buffered)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._ended = True
            self.stop()
            reset(self._source)
            return
        self.carried_bytes += sent
        self._buffered = self._buffered[sent:]
        if self._paused:
            return
        if self._buffered:
            self._loop.remove_reader(self._source)
            self._loop.add_writer(self._sink, self._writable)
        else:
            self._loop.remove_writer(self._sink)
            self._loop.add_reader(self._source, self._readable)


class SocketCable:
    """Sockets `left` and `right` for the test, and the relay between them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, unix: bool = False, buffer_bytes: int | None = None) -> None:
        """Create a TCP or unix cable; `buffer_bytes` sets small kernel buffers."""
        pair = unix_pair if unix else tcp_pair
        self.left, self._near = pair(buffer_bytes)
        self._far, self.right = pair(buffer_bytes)
        for end in (self.left, self._near, self._far, self.right):
            end.settimeout(0)
        self.rightward = CableDirection(loop, self._near, self._far)
        self.leftward = CableDirection(loop, self._far, self._near)

    def pause(self) -> None:
        """Pause both directions: a silent link."""
        self.rightward.pause()
        self.leftward.pause()

    def resume(self) -> None:
        """Resume both directions."""
        self.rightward.resume()
        self.leftward.resume()

    def reset(self) -> None:
        """Reset both sides (RST where the kind has one)."""
        self._stop()
        reset(self._near)
        reset(self._far)

    def cut(self) -> None:
        """End both sides with FIN, without the proper end of the protocol inside."""
        self._stop()
        self._near.close()
        self._far.close()

    def _stop(self) -> None:
        self.rightward.stop()
        self.leftward.stop()

    def close(self) -> None:
        """Close the cable and all its sockets."""
        self._stop()
        for end in (self.left, self._near, self._far, self.right):
            end.close()
