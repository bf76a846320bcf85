"""TLS over a socket as a channel, on memory BIOs: exact half-close, and one read for many records."""

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from portway.engine.accounts import Account
from portway.engine.channel import BLOCKED, CHANNEL_SLOTS, Channel, nothing
from portway.engine.poller import BROKEN, GONE, MAY_WRITE, READABLE
from portway.engine.reactor import TURN_BYTES, Reactor
from portway.engine.socket_channel import END_ON_CLOSE, RESET_ON_CLOSE, set_close_mode
from portway.engine.timers import Timer
from portway.engine.tls_errors import describe_tls_error, handshake_failure
from portway.engine.tls_read_ahead import ReadAhead
from portway.engine.tls_records import EMPTY_RECORDS_MAX, FEED_VISITOR_BYTES, HANDSHAKE_FEEDS_A_CALL, READ_BULK_BYTES, RecordFeed
from portway.engine.tls_slices import WriteSlices
from portway.errors import BrokenChannel

REPLY_BYTES_MAX = 16 * 1024
"""Replies of OpenSSL itself (to key updates, for example) that the peer has not read; more is an attack."""
LINGER_S = 10.0
"""How long `close` tries to send ciphertext that the kernel has not accepted yet."""
_EOF_IS_END: int = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
"""Set in every context by CPython before 3.11.4, which accepts a TCP end without close_notify as a proper end (gh-95494)."""

_READ = READABLE | GONE

HandshakeDone = Callable[[BrokenChannel | None], None]


class TlsChannel(Channel):
    """A TLS channel on a connected, non-blocking socket, which it owns; call `handshake` first.

    `shutdown_write` sends close_notify, and the other direction continues. A TCP end without close_notify is a break. The
    SSLContext is referenced as long as the channel exists (CPython's sni_callback use-after-free, CVE-2026-19445).

    Buffers: ciphertext that the kernel has not accepted (of one `send`; no other is accepted until it is gone), received
    ciphertext, and plaintext that was read ahead of close_notify (one feed each). `close` and `abort` free OpenSSL's buffers.
    With `in_slices`, `send` encrypts and sends a slice at a time, and OpenSSL is fed a record at a time, so that its buffers stay small.
    """

    __slots__ = (
        *CHANNEL_SLOTS,
        *("_blocked", "_cipher", "_closed", "_scheduled", "_context", "_drained", "_ended", "_failure", "_hung_up"),
        *("_incoming", "_read_ahead", "_level_poller", "_linger", "_on_handshake", "_outgoing", "_reactor", "_records"),
        *("_slices", "_shut", "_sock", "_tls", "account", "feed_bytes"),
    )

    def __init__(  # noqa: PLR0913 - a socket, its TLS, and what is known about its use
        self,
        reactor: Reactor,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        received: bytes = b"",
        in_slices: bool = False,
    ) -> None:
        """Watch `sock` from now on; `received` is what was read from it already."""
        self.on_readable = self.on_writable = self.on_broken = nothing
        self.readable = True
        self.account: Account | None = None
        self._reactor = reactor
        self._level_poller = reactor.level_poller
        self._sock = sock
        self._context = context
        context.options &= ~_EOF_IS_END
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._records = RecordFeed(self._incoming, in_parts=in_slices)
        if received:
            self._records.put_received(memoryview(received))
        self._slices = WriteSlices() if in_slices else None
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname)
        self.feed_bytes = FEED_VISITOR_BYTES  # up to TLS_TURN_BYTES, for a link whose peer is verified
        self._cipher: memoryview | None = None
        self._read_ahead = ReadAhead()
        self._on_handshake: HandshakeDone | None = None
        self._linger: Timer | None = None
        self._scheduled = self._drained = self._blocked = self._hung_up = self._ended = False
        self._failure = ""  # why it ended, if not properly: OpenSSL reports it only once
        self._shut = self._closed = False
        reactor.watch(sock.fileno(), self._on_events)

    def __repr__(self) -> str:
        return f"<TlsChannel fd={self._sock.fileno()}{' closed' if self._closed else ''}>"

    @property
    def alpn(self) -> str | None:
        """The protocol agreed on by ALPN, if any."""
        return self._tls.selected_alpn_protocol()

    def peer_certificate_der(self) -> bytes | None:
        """Return the peer's certificate after the handshake, or None if it sent none; raises BrokenChannel once this is closed."""
        if self._closed:
            raise BrokenChannel("this end is closed")
        return self._tls.getpeercert(binary_form=True)

    def handshake(self, on_done: HandshakeDone) -> None:
        """Start the handshake; `on_done` is called once, from the reactor, with None or the error.

        There is no deadline: the caller sets one and calls `abort`.
        """
        self._on_handshake = on_done
        self._reschedule()

    def recv_into(self, buffer: memoryview) -> int:
        """Decrypt into `buffer`, reading ciphertext from the socket as needed, record after record, for a bounded time."""
        if self._closed:
            raise BrokenChannel("this end is closed")
        if self._read_ahead.buffer:
            return self._read_ahead.take(buffer)
        filled = feeds = 0
        try:
            while not self._ended:
                filled = self._decrypt(buffer, filled)
                if filled == len(buffer) or self._ended:
                    break
                goes_on = self._records.goes_on(feeds)
                if goes_on and self._feed():
                    feeds += 1
                elif filled and not goes_on:
                    return filled
                else:
                    self.readable = False
                    if not goes_on:
                        self._reschedule()
                    return filled or BLOCKED
        except BrokenChannel:
            if not filled:
                raise
            return filled
        finally:
            self._reactor.work.done += self._records.take_work()
        if not filled:
            self.readable = False
            if self._failure:
                raise BrokenChannel(f"TLS broke: {self._failure}")
        return filled

    def waiting_bytes(self) -> int:
        """Return the ciphertext that the kernel has not accepted yet."""
        return 0 if self._cipher is None else len(self._cipher)

    def room(self) -> int:
        """Return one turn's bytes, or 0 while ciphertext waits for the kernel."""
        return 0 if self._blocked else TURN_BYTES

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Encrypt `data` and send what the kernel accepts; the rest of the ciphertext is sent before further data is accepted."""
        if self._closed:
            raise BrokenChannel("this end is closed")
        if self._blocked:
            return 0
        view = memoryview(data)
        size = len(view)
        done = 0
        slice_bytes = size if self._slices is None else self._slices.size
        try:
            while done < size:
                with view[done : done + slice_bytes] as piece:  # the frame of the ssl module keeps a reference, too
                    done += self._tls.write(piece)
                if slice_bytes < size and not self._send_cipher():
                    break
        except ssl.SSLError as exc:
            raise BrokenChannel(f"TLS broke: {describe_tls_error(exc)}") from exc
        finally:
            view.release()  # an error keeps this frame alive, and the owner's bytearray cannot grow while a view exists
        if slice_bytes >= size:
            self._send_cipher()
        if self._slices is not None:
            self._slices.count(done)
        return done

    def shutdown_write(self) -> None:
        """Send close_notify; receiving continues."""
        if self._shut or self._closed:
            return
        self._shut = True
        try:
            # OpenSSL fails permanently when it finds data where it expects close_notify: read that data first.
            self._drain()
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            pass  # the usual case: the peer has not ended yet
        except ssl.SSLError:
            self.readable = True  # the reader gets the error
        try:
            self._send_cipher()
        except BrokenChannel:
            self.readable = self._hung_up = True

    def abort(self) -> None:
        """Close with RST."""
        if not self._closed:
            self._retire()
        elif self._linger is None:
            return
        set_close_mode(self._sock, RESET_ON_CLOSE)
        self._discard()

    def close(self) -> None:
        """Send close_notify if it was not sent, and close the socket once all ciphertext was sent (after 10 s at most)."""
        if self._closed:
            return
        self.shutdown_write()
        self._retire()
        set_close_mode(self._sock, END_ON_CLOSE)
        if self._cipher is None:
            self._discard()
        else:
            self._linger = self._reactor.call_later(LINGER_S, self.abort)

    def _retire(self) -> None:
        self.on_readable = self.on_writable = self.on_broken = nothing
        self.readable, self._closed = False, True
        self._on_handshake = None
        self._read_ahead = ReadAhead()
        del self._tls, self._incoming, self._records

    def _discard(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self._cipher, self._blocked = None, False
        del self._outgoing
        self._reactor.discard(self._sock)

    def _decrypt(self, buffer: memoryview, at: int) -> int:
        """Decrypt available records into `buffer` from `at`, and detect the end or a failure; return the position reached."""
        size, tls, incoming, records = len(buffer), self._tls, self._incoming, self._records
        try:
            # Without data OpenSSL raises an exception, which costs more than a small record.
            while at < size and (incoming.pending or incoming.eof or tls.pending()):
                count: int = tls.read(size - at, buffer[at:])  # type: ignore[assignment]
                records.without_data = 0
                records.reads += 1
                if not count:
                    self._ended = True
                    break
                at += count
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ended = True  # CPython reports close_notify this way once this end has sent its own
        except ssl.SSLError as exc:
            self._ended, self._failure = True, describe_tls_error(exc)  # the data before it is complete, and is delivered first
        return at

    def _feed(self) -> bool:
        """Pass more ciphertext to OpenSSL, a bounded number of records; return whether there was any."""
        records = self._records
        if self._drained and not records.waiting:
            return False
        if records.without_data > EMPTY_RECORDS_MAX:
            raise BrokenChannel("TLS broke: too many records without data from the peer")
        if self._outgoing.pending:
            self._send_replies()
        if records.waiting:
            records.put_waiting()
            return True
        feed = self._reactor.tls_scratch[: self.feed_bytes]
        try:
            count = self._sock.recv_into(feed)
        except (BlockingIOError, InterruptedError):
            self._mark_drained()
            return False
        except OSError as exc:
            raise BrokenChannel(f"cannot read: {exc.strerror or exc}") from exc
        if not count:
            # OpenSSL now reports an end without close_notify as an error.
            self._drained = True
            self._incoming.write_eof()
            return True
        if count == len(feed) and self._slices is not None:
            self.feed_bytes = READ_BULK_BYTES
        elif count < len(feed) and not self._hung_up:
            self._mark_drained()
        records.put(feed[:count])
        return True

    def _mark_drained(self) -> None:
        self._drained = True
        if self._level_poller is not None:
            self._level_poller.want_read(self._sock.fileno())

    def _send_replies(self) -> None:
        """Send output that OpenSSL produced by itself, when nothing else is being sent."""
        if self._outgoing.pending > REPLY_BYTES_MAX:
            raise BrokenChannel("TLS broke: the peer requests replies and does not read them")
        if not self._blocked:
            with suppress(BrokenChannel):  # what the peer sent before it closed can still be read
                self._send_cipher()

    def _reschedule(self) -> None:
        """Continue later, charged to `account`: there may be more, and no event will report it."""
        if not self._scheduled:
            self._scheduled = True
            self._reactor.call_soon_charged(self.account or self._reactor.unassigned, self._resume)

    def _resume(self) -> None:
        self._scheduled = False
        if self._on_handshake is not None:
            self._step_handshake()
        elif not self._closed:
            self.readable = True
            self.on_readable()

    def _drain(self) -> None:
        """Read the available plaintext from OpenSSL, without reading from the socket."""
        try:
            self._ended = self._read_ahead.drain(self._tls) or self._ended
        finally:
            self.readable = self.readable or bool(self._read_ahead.buffer) or self._ended

    def _send_cipher(self) -> bool:
        """Send ciphertext; return whether the kernel accepted all of it."""
        cipher = self._cipher
        if cipher is None:
            fresh = self._outgoing.read()
            if not fresh:
                return True
            cipher = memoryview(fresh)
        elif self._outgoing.pending:
            cipher = memoryview(bytes(cipher) + self._outgoing.read())
        try:
            sent = self._sock.send(cipher)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as exc:
            raise BrokenChannel(f"cannot write: {exc.strerror or exc}") from exc
        self._blocked = sent < len(cipher)
        self._cipher = cipher[sent:] if self._blocked else None
        if self._blocked and self._level_poller is not None:
            self._level_poller.want_write(self._sock.fileno())
        return not self._blocked

    def _on_events(self, mask: int) -> None:
        if mask & _READ:
            if mask & GONE:
                self._hung_up = True
            self._drained = False
            if self._on_handshake is not None:
                self._reschedule()  # half a millisecond of CPU time: never run directly from an event
            elif not self._closed:
                self.readable = True
                self.on_readable()
        if self._blocked and mask & MAY_WRITE:
            self._unblock()
        if mask & BROKEN:
            self.on_broken()

    def _unblock(self) -> None:
        try:
            self._send_cipher()
        except BrokenChannel:
            self._cipher, self._blocked = None, False
            self.readable = True
            if self._closed:
                self._discard()
            else:
                self.on_broken()
            return
        if not self._blocked:
            if self._closed:
                self._discard()
            else:
                self.on_writable()

    def _step_handshake(self) -> None:
        on_done = self._on_handshake
        if on_done is None:
            return
        failure: BrokenChannel | None = None
        feeds = 0
        try:
            while True:
                try:
                    self._tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    self._send_cipher()
                    if feeds == HANDSHAKE_FEEDS_A_CALL:
                        self._reschedule()
                        return
                    if not self._feed():
                        return
                    feeds += 1
            self._send_cipher()
        except ssl.SSLError as exc:
            failure = handshake_failure(exc)
            with suppress(BrokenChannel):  # the alert is optional
                self._send_cipher()
        except BrokenChannel as exc:
            failure = BrokenChannel(str(exc))  # without its traceback, for the same reason
        self._on_handshake = None
        self._records.without_data = 0
        self.readable = True
        on_done(failure)
