"""One request and its response, between a visitor and an origin."""

from portway.edge.http.buffers import ChannelReader
from portway.edge.http.exchange.base import ExchangeBase
from portway.edge.http.exchange.body_pumps import PumpResult, ReframingPump, SizedPump
from portway.edge.http.head_cache import CachedResponse
from portway.edge.http.origin.stream import OriginStream
from portway.edge.http.retry_policy import error_code_for_fault
from portway.errors import BrokenChannel
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import CRLF, READ_BYTES, cut_head
from portway.protocol.http1.framing import CHUNKED, UNTIL_END, body_for_visitor
from portway.protocol.http1.response import ResponseHead
from portway.protocol.http1.serialise import interim_bytes
from portway.protocol.http1.upgrade import check_switch


class Exchange(ExchangeBase):
    """Sends a request, whose body may still be arriving, and forwards the response.

    Both directions stream with back-pressure; the buffers are one head per direction, and those of the pumps
    (`body_pumps`). Nothing of it outlives the exchange.

    The stream returns to the pool only if nothing of this exchange can be left in it (`retry_policy.is_shareable`) and both messages
    ended by their own framing. Otherwise it is closed: gracefully if the request was complete, with a reset if not.
    """

    __slots__ = ()

    def start(self, *, is_retry: bool = False) -> None:
        """Send the request on an idle or new stream. `is_retry`: this is its second and last attempt.

        Raises:
            UnavailableError: no stream is available; nothing was sent.
        """
        self._retried = is_retry
        pin, stream = self._visitor.pin, None
        if pin is not None and pin.pool is self._pool:
            stream = pin.take()
            if stream is None:
                self._visitor.close_without_response()
                return
        elif not is_retry and self._cached_request.bodyless:  # the origin closes a connection after a body: an idle one would be wasted
            stream = self._pool.take(repeatable=self._cached_request.repeatable)
        self._reused = stream is not None
        self._send_request(stream or self._pool.open())

    @property
    def uploading(self) -> bool:
        """True while the visitor's body is still to be read."""
        return self._upload is not None

    # ------------------------------------------------------------------------------------------------- the request

    def _send_request(self, stream: OriginStream) -> None:
        cached, visitor, reactor = self._cached_request, self._visitor, self._reactor
        self._stream = stream
        stream.user = self
        lines = cached.short_lines or cached.take_lines() if cached.shareable else self._pinnable_lines(stream)
        if self._pool.rewriter.changes_requests:
            lines = self._pool.rewriter.request(lines, cached.request.host, visitor.effective_scheme)
        head = lines + visitor.edge_header_lines(cached.request.host)
        visitor.deadline = reactor.now + self._pool.response_s
        if cached.bodyless:
            try:
                stream.writer.write(head)
            except BrokenChannel:
                self._on_origin_failed()
            return
        body = cached.request.body
        if body == CHUNKED:
            self._upload = ReframingPump(reactor, visitor.reader, stream.writer, (CHUNKED, CHUNKED), head)
            self._upload.limit(self._settings.body_bytes_max)
        else:
            self._upload = SizedPump(reactor, visitor.reader, stream.writer, body, head)
        self._on_body_start(self._upload)
        self.run_upload()

    def _pinnable_lines(self, stream: OriginStream) -> bytes:
        """Pin a stream whose connection the request may authenticate; return the head's lines, which do not ask a pinned one to close."""
        cached = self._cached_request
        if cached.authenticates:
            self._pool.pin(stream)
        return cached.take_persistent_lines() if stream.pinned else cached.take_lines()

    def _on_body_start(self, pump: SizedPump | ReframingPump) -> None:
        """Called for each body that does not arrive whole with its head."""

    def run_upload(self) -> None:
        """Continue the request's body, or queue for a turn while others of this tenant wait."""
        if self._upload is None or self._queued & 1:
            return
        if isinstance(self._upload, SizedPump):
            self._run_upload()  # its turns are short
        else:
            self._reactor.run_or_queue(self._pool.account, self._run_upload, lambda: self._queue(1))

    def _run_upload(self) -> None:
        upload = self._upload
        if upload is None:
            return
        try:
            result = upload.run()
        except MessageError as exc:
            self._end_stream()
            self._send_error(exc.code, str(exc), complete=False)
            return
        if result is PumpResult.FINISHED:
            self._upload = None
            if self._response is None:
                self._visitor.deadline = self._reactor.now + self._pool.response_s
            if self._visitor.channel.readable:
                self._visitor.read_ahead()  # the visitor's end may have come with the last of the body
        elif result is PumpResult.TURN_USED_UP:
            self._queue(1)
        elif result is PumpResult.SOURCE_TRUNCATED:
            self._end_stream()
            self._send_error("bad_request", "the connection ended before the body did", complete=False)
        elif result is PumpResult.SOURCE_BROKE:
            self.on_visitor_broken()
        elif result is PumpResult.SINK_BROKE:
            self._origin_stopped_reading()
        self._update_deadline(upload, result)

    def _origin_stopped_reading(self) -> None:
        """Drop the rest of the body; a response that was sent before may still arrive."""
        self._upload = None
        self.early = True
        if self._response is None:
            self.on_origin_readable()
        if self._response is None and self._stream is not None:
            self._on_origin_failed()

    # ------------------------------------------------------------------------------------------------ the response

    def on_origin_readable(self) -> None:
        """Read the response's head, or continue its body."""
        if self._download is not None:
            self._run_download()
            return
        try:
            while self._stream is not None and self._response is None:
                reader = self._stream.reader
                view = reader.peek(READ_BYTES)
                if view is None:
                    if reader.ended:
                        self._on_origin_failed()
                    return
                data = bytes(view)
                head, size, self._buffer = cut_head(data, self._buffer, self._pool.response_heads.limits)
                if head is None:
                    reader.consume(len(data))
                    self._visitor.count_buffered()
                else:
                    self._handle_head(self._pool.response_heads.parse(head, self._cached_request.request.method), reader, data, size)
                    return
        except MessageError as exc:
            self._end_stream()
            self._send_error(error_code_for_fault(exc), str(exc), complete=self._upload is None)
        except BrokenChannel:
            self._on_origin_failed()

    def on_origin_writable(self) -> None:
        """Continue the request."""
        if self._upload is not None:
            self.run_upload()
        elif self._stream is not None:
            try:
                whole = self._stream.writer.flush()
            except BrokenChannel:
                self._on_origin_failed()
            else:
                if whole and self._half_closed:
                    self.on_visitor_ended()

    def _handle_head(self, cached_response: CachedResponse, reader: ChannelReader, data: bytes, size: int) -> None:
        """Process a head: the first `size` bytes of `data`, which were peeked from `reader`."""
        response = cached_response.response
        if response.status >= 200:
            self._start_response(cached_response, reader, data, size)
            return
        reader.consume(size)
        if self._stream is not None and not self._stream.responded:
            self._pool.first_response(self._stream)
        if response.status == 101:
            self._upgrade(response)
            return
        interim = interim_bytes(response)
        self._interim_bytes += len(interim)
        self._pool.response_heads.check_interim_bytes(self._interim_bytes)
        if self._upload is None:
            self._visitor.deadline = self._reactor.now + self._pool.response_s  # the origin is working on it
        if self._cached_request.request.version == 11:
            self._send_to_visitor(interim)
        # The next head may have arrived already; other visitors have their turn first.
        self._reactor.call_soon_charged(self._pool.account, self.on_origin_readable)

    def _start_response(self, cached_response: CachedResponse, reader: ChannelReader, data: bytes, size: int) -> None:
        """Begin the final response; complete it at once if all of it has arrived, which is the usual case."""
        cached, stream = self._cached_request, self._stream
        request = cached.request
        response = self._response = cached_response.bare
        self.early = self.early or self._upload is not None
        body = response.body
        outgoing = body if body >= 0 else body_for_visitor(body, request.version)
        # What follows a refused upgrade may be frames as well as a request (threats S4): it is not read.
        keep_alive = request.keep_alive and not self.early and outgoing != UNTIL_END and request.upgrade is None
        if stream is not None and not stream.responded:
            self._pool.first_response(stream)
        self._shareable = cached.shareable and cached_response.shareable and stream is not None and not (stream.pinned or self._half_closed)
        if not self._shareable and stream is not None:
            if cached_response.authenticates:
                self._pool.pin(stream)
            keep_alive = keep_alive and (cached_response.persistent or not self._is_bound(stream))
        self._keep_alive = keep_alive
        head = cached_response.head(request.version, keep_alive=keep_alive)
        if self._pool.https_lines and self._visitor.effective_scheme == "https":
            head = head[:-2] + self._pool.https_lines + CRLF
        if cached.long is not None:
            cached.long.forget()  # it is never sent again
            self._visitor.count_buffered()
        if 0 <= body <= len(data) - size:
            reader.consume(size + body)
            if self._send_to_visitor(head + data[size : size + body] if body else head):
                self._finish()
            return
        reader.consume(size)
        writer = self._visitor.writer
        if body > 0:
            self._download = SizedPump(self._reactor, reader, writer, body, head)
        else:
            self._download = ReframingPump(self._reactor, reader, writer, (body, outgoing), head)
        self._on_body_start(self._download)
        self._run_download()

    def _send_to_visitor(self, data: bytes) -> bool:
        """Send to the visitor; return False if its connection broke, which ends the exchange."""
        try:
            self._visitor.writer.write(data)
        except BrokenChannel:
            self.on_visitor_broken()
            return False
        return True

    def _run_download(self) -> None:
        download = self._download
        if download is None or self._queued & 2:
            return
        try:
            result = download.run()
        except MessageError as exc:
            self._truncate(str(exc))
            return
        if result is PumpResult.FINISHED:
            self._finish()
        elif result is PumpResult.TURN_USED_UP:
            self._queue(2)
        elif result is PumpResult.WAITS_FOR_SINK:
            self._visitor.count_unread()
        elif result is PumpResult.SINK_BROKE:
            self.on_visitor_broken()
        elif result in (PumpResult.SOURCE_TRUNCATED, PumpResult.SOURCE_BROKE):
            self._truncate(self._truncation_reason(result))
        self._update_deadline(download, result)

    def _truncation_reason(self, result: PumpResult) -> str:
        """Return why the origin's bytes ended."""
        if result is PumpResult.SOURCE_TRUNCATED:
            return "the origin ended too early"
        away = self._stream is not None and self._stream.agent_away
        return "the link to the agent was lost" if away else "the origin reset the connection"

    def on_visitor_writable(self) -> None:
        """Continue the response."""
        if self._download is not None:
            self._run_download()
            return
        try:
            self._visitor.writer.flush()
        except BrokenChannel:
            self.on_visitor_broken()

    def _finish(self) -> None:
        """Complete the response."""
        response, stream, upload, keep_alive = self._response, self._stream, self._upload, self._keep_alive
        self._stream = self._upload = self._download = None
        if response is None or stream is None:
            return
        if upload is not None:
            stream.abort()  # after a graceful close the origin might take the partial request for a whole one
        elif self._shareable:
            self._pool.give_back(stream)
        elif keep_alive and not self._half_closed and self._is_bound(stream):
            keep_alive = self._pool.keep_pinned(stream, self._visitor)
        else:
            stream.close_gracefully()
        self._visitor.response_done(response.status, keep_alive=keep_alive)

    def _upgrade(self, response: ResponseHead) -> None:
        """Hand both channels over to a relay, after the origin agreed to the upgrade."""
        check_switch(self._cached_request.request.upgrade, response.upgrade, whole=self._upload is None)
        stream = self._stream
        if stream is not None and self._send_to_visitor(interim_bytes(response)):
            self._stream = None
            stream.user = None
            self._pool.forget(stream)
            stream.channel.send_switched()
            self._visitor.upgraded(stream)

    # ------------------------------------------------------------------------------------------------ turns and time

    def _queue(self, direction: int) -> None:
        """Queue a turn behind others; `direction` is 1 for the request and 2 for the response."""
        if not self._queued:
            self._reactor.call_soon_charged(self._pool.account, self._next_turn)
        self._queued |= direction

    def _next_turn(self) -> None:
        directions, self._queued = self._queued, 0
        if self._stream is None:
            return
        if directions & 1:
            self._run_upload()
        if directions & 2 and self._stream is not None:
            self._run_download()

    def _update_deadline(self, pump: SizedPump | ReframingPump, result: PumpResult) -> None:
        """Move the deadline on progress, by the side that the exchange waits for."""
        if self._stream is None or result is PumpResult.FINISHED:
            return
        if pump is self._download:
            state = (pump.moved, result)
            patience_s = self._settings.stall_s if result is PumpResult.WAITS_FOR_SINK else self._settings.silence_s
        elif self._download is not None:
            return
        else:
            state = (pump.moved, result)
            patience_s = self._settings.stall_s if result is PumpResult.WAITS_FOR_SOURCE else self._pool.response_s
        if state != self._last_progress:
            self._last_progress = state
            self._visitor.deadline = self._reactor.now + patience_s
