"""One request and its answer, between a visitor and an origin."""

from portway.errors import BrokenChannel
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.fields import READ_BYTES, cut_head
from portway.protocol.http1.framing import CHUNKED, UNTIL_END, body_for_visitor
from portway.protocol.http1.response import ResponseHead
from portway.protocol.http1.serialise import interim_bytes
from portway.protocol.http1.upgrade import check_switch
from portway.server.edge.http.buffers import ChannelReader
from portway.server.edge.http.exchange.base import ExchangeBase
from portway.server.edge.http.exchange.body_pumps import PumpResult, ReframingPump, SizedPump
from portway.server.edge.http.head_cache import CachedResponse
from portway.server.edge.http.origin.stream import OriginStream
from portway.server.edge.http.retry_policy import answer_to_fault


class Exchange(ExchangeBase):
    """Sends a request, whose body is still to come, and brings the answer.

    Both ways stream with back-pressure; what is kept is a head each way, and what a pump keeps
    (`body_pumps`). Nothing of it outlives the exchange.

    The stream is given back only when nothing of this exchange can be left in it (`policy.is_shareable`) and both sides
    ended by their own framing. Otherwise it ends: properly when the request was complete, with a reset when it was not.
    """

    __slots__ = ()

    def start(self, *, tried_before: bool = False) -> None:
        """Send the request on an idle stream, or on a new one. `tried_before`: this is its second and last attempt.

        Raises:
            UnavailableError: there is no stream to be had; nothing was sent.
        """
        self._tried_again = tried_before
        pin, stream = self._visitor.pin, None
        if pin is not None and pin.pool is self._pool:
            stream = pin.take()
            if stream is None:
                self._visitor.hang_up()
                return
        elif not tried_before and self._asked.bodyless:  # a connection that carries a body ends, so that a kept one would be wasted
            stream = self._pool.take(repeatable=self._asked.repeatable)
        self._reused = stream is not None
        self._send(stream or self._pool.open())

    @property
    def uploading(self) -> bool:
        """True while the visitor's body is still to be read."""
        return self._upload is not None

    # ------------------------------------------------------------------------------------------------- the request

    def _send(self, stream: OriginStream) -> None:
        asked, visitor, reactor = self._asked, self._visitor, self._reactor
        self._stream = stream
        stream.user = self
        lines = asked.short_lines or asked.take_lines() if asked.shareable else self._special_lines(stream)
        if self._pool.rewriter.changes_requests:
            lines = self._pool.rewriter.request(lines, asked.request.host)
        head = lines + visitor.own_lines(asked.request.host)
        visitor.deadline = reactor.now + self._pool.answer_s
        if asked.bodyless:
            try:
                stream.outlet.write(head)
            except BrokenChannel:
                self._origin_failed()
            return
        body = asked.request.body
        if body == CHUNKED:
            self._upload = ReframingPump(reactor, visitor.inlet, stream.outlet, (CHUNKED, CHUNKED), head)
            self._upload.limit(self._settings.body_bytes_max)
        else:
            self._upload = SizedPump(reactor, visitor.inlet, stream.outlet, body, head)
        self._body_begins(self._upload)
        self.run_upload()

    def _special_lines(self, stream: OriginStream) -> bytes:
        """Pin a stream whose connection the request may authenticate; return the head's lines, which do not ask a pinned one to close."""
        asked = self._asked
        if asked.authenticates:
            self._pool.pin(stream)
        return asked.take_lasting_lines() if stream.pinned else asked.take_lines()

    def _body_begins(self, pump: SizedPump | ReframingPump) -> None:
        """Hear of each body that does not come whole with its head."""

    def run_upload(self) -> None:
        """Move the request's body on, or queue for it while others of this tenant wait for their turn."""
        if self._upload is None or self._queued & 1:
            return
        if isinstance(self._upload, SizedPump):
            self._run_upload()  # no turn of it is long
        else:
            self._reactor.run_or_queue(self._pool.account, self._run_upload, lambda: self._queue(1))

    def _run_upload(self) -> None:
        upload = self._upload
        if upload is None:
            return
        try:
            flow = upload.run()
        except MessageError as exc:
            self._end_stream()
            self._refuse(exc.code, str(exc), complete=False)
            return
        if flow is PumpResult.FINISHED:
            self._upload = None
            if self._response is None:
                self._visitor.deadline = self._reactor.now + self._pool.answer_s
            if self._visitor.channel.readable:
                self._visitor.look_ahead()  # its end may have come with the last of the body
        elif flow is PumpResult.TURN_USED_UP:
            self._queue(1)
        elif flow is PumpResult.SOURCE_TRUNCATED:
            self._end_stream()
            self._refuse("bad_request", "the connection ended before the body did", complete=False)
        elif flow is PumpResult.SOURCE_BROKE:
            self.visitor_broke()
        elif flow is PumpResult.SINK_BROKE:
            self._origin_stopped_reading()
        self._keep_time(upload, flow)

    def _origin_stopped_reading(self) -> None:
        """The rest of the body has nowhere to go; an answer that was sent before may still be there."""
        self._upload = None
        self.early = True
        if self._response is None:
            self.origin_readable()
        if self._response is None and self._stream is not None:
            self._origin_failed()

    # -------------------------------------------------------------------------------------------------- the answer

    def origin_readable(self) -> None:
        """Read the answer's head, or move its body on."""
        if self._download is not None:
            self._run_download()
            return
        try:
            while self._stream is not None and self._response is None:
                inlet = self._stream.inlet
                view = inlet.view(READ_BYTES)
                if view is None:
                    if inlet.ended:
                        self._origin_failed()
                    return
                data = bytes(view)
                head, size, self._buffer = cut_head(data, self._buffer, self._pool.answered.limits)
                if head is None:
                    inlet.used(len(data))
                    self._visitor.count_kept()
                else:
                    self._take_head(self._pool.answered.understand(head, self._asked.request.method), inlet, data, size)
                    return
        except MessageError as exc:
            self._end_stream()
            self._refuse(answer_to_fault(exc), str(exc), complete=self._upload is None)
        except BrokenChannel:
            self._origin_failed()

    def origin_writable(self) -> None:
        """Go on with the request."""
        if self._upload is not None:
            self.run_upload()
        elif self._stream is not None:
            try:
                whole = self._stream.outlet.flush()
            except BrokenChannel:
                self._origin_failed()
            else:
                if whole and self._half_closed:
                    self.visitor_ended()

    def _take_head(self, answered: CachedResponse, inlet: ChannelReader, data: bytes, size: int) -> None:
        """Act on a head that is the first `size` bytes of `data`, which `inlet` lent."""
        response = answered.response
        if response.status >= 200:
            self._answer(answered, inlet, data, size)
            return
        inlet.used(size)
        if self._stream is not None and not self._stream.answered:
            self._pool.first_answer(self._stream)
        if response.status == 101:
            self._switch(response)
            return
        interim = interim_bytes(response)
        self._interims += len(interim)
        self._pool.answered.check_interims(self._interims)
        if self._upload is None:
            self._visitor.deadline = self._reactor.now + self._pool.answer_s  # it is at work
        if self._asked.request.version == 11:
            self._to_visitor(interim)
        self._reactor.call_soon_charged(
            self._pool.account, self.origin_readable
        )  # the next head may be there already; others have their turn first

    def _answer(self, answered: CachedResponse, inlet: ChannelReader, data: bytes, size: int) -> None:
        """Begin the final answer, and complete it at once where it is all there: most are."""
        asked, stream = self._asked, self._stream
        request = asked.request
        response = self._response = answered.bare
        self.early = self.early or self._upload is not None
        body = response.body
        outgoing = body if body >= 0 else body_for_visitor(body, request.version)
        # What follows a refused upgrade may be frames as well as a request (threats S4): it is not read.
        keep_alive = request.keep_alive and not self.early and outgoing != UNTIL_END and request.upgrade is None
        if stream is not None and not stream.answered:
            self._pool.first_answer(stream)
        self._shareable = asked.shareable and answered.shareable and stream is not None and not (stream.pinned or self._half_closed)
        if not self._shareable and stream is not None:
            if answered.authenticates:
                self._pool.pin(stream)
            keep_alive = keep_alive and (answered.lasts or not self._is_bound(stream))
        self._keep_alive = keep_alive
        head = answered.head(request.version, keep_alive=keep_alive)
        if asked.long is not None:
            asked.long.forget()  # it is never sent again
            self._visitor.count_kept()
        if 0 <= body <= len(data) - size:
            inlet.used(size + body)
            if self._to_visitor(head + data[size : size + body] if body else head):
                self._finish()
            return
        inlet.used(size)
        outlet = self._visitor.outlet
        if body > 0:
            self._download = SizedPump(self._reactor, inlet, outlet, body, head)
        else:
            self._download = ReframingPump(self._reactor, inlet, outlet, (body, outgoing), head)
        self._body_begins(self._download)
        self._run_download()

    def _to_visitor(self, data: bytes) -> bool:
        """Send to the visitor; return False when it is gone, and with it this exchange."""
        try:
            self._visitor.outlet.write(data)
        except BrokenChannel:
            self.visitor_broke()
            return False
        return True

    def _run_download(self) -> None:
        download = self._download
        if download is None or self._queued & 2:
            return
        try:
            flow = download.run()
        except MessageError as exc:
            self._truncate(str(exc))
            return
        if flow is PumpResult.FINISHED:
            self._finish()
        elif flow is PumpResult.TURN_USED_UP:
            self._queue(2)
        elif flow is PumpResult.WAITS_FOR_SINK:
            self._visitor.count_unread()
        elif flow is PumpResult.SINK_BROKE:
            self.visitor_broke()
        elif flow in (PumpResult.SOURCE_TRUNCATED, PumpResult.SOURCE_BROKE):
            self._truncate(self._why_cut(flow))
        self._keep_time(download, flow)

    def _why_cut(self, flow: PumpResult) -> str:
        """Return why the origin's bytes ended."""
        if flow is PumpResult.SOURCE_TRUNCATED:
            return "the origin ended too early"
        away = self._stream is not None and self._stream.agent_away
        return "the link to the agent was lost" if away else "the origin reset the connection"

    def visitor_writable(self) -> None:
        """Go on with the answer."""
        if self._download is not None:
            self._run_download()
            return
        try:
            self._visitor.outlet.flush()
        except BrokenChannel:
            self.visitor_broke()

    def _finish(self) -> None:
        """The answer is complete."""
        response, stream, upload, keep_alive = self._response, self._stream, self._upload, self._keep_alive
        self._stream = self._upload = self._download = None
        if response is None or stream is None:
            return
        if upload is not None:
            stream.abort()  # a proper end would let the part of the request that it has look like the whole
        elif self._shareable:
            self._pool.give_back(stream)
        elif keep_alive and not self._half_closed and self._is_bound(stream):
            keep_alive = self._pool.keep_for(stream, self._visitor)
        else:
            stream.leave()
        self._visitor.answered(response.status, keep_alive=keep_alive)

    def _switch(self, response: ResponseHead) -> None:
        """Hand both channels over to a relay, as the origin itself agreed to."""
        check_switch(self._asked.request.upgrade, response.upgrade, whole=self._upload is None)
        stream = self._stream
        if stream is not None and self._to_visitor(interim_bytes(response)):
            self._stream = None
            stream.user = None
            self._pool.gone(stream)
            stream.channel.send_switched()
            self._visitor.switched(stream)

    # ------------------------------------------------------------------------------------------------ turns and time

    def _queue(self, way: int) -> None:
        """Take the next turn behind the others; `way` is 1 for the request and 2 for the answer."""
        if not self._queued:
            self._reactor.call_soon_charged(self._pool.account, self._next_turn)
        self._queued |= way

    def _next_turn(self) -> None:
        ways, self._queued = self._queued, 0
        if self._stream is None:
            return
        if ways & 1:
            self._run_upload()
        if ways & 2 and self._stream is not None:
            self._run_download()

    def _keep_time(self, pump: SizedPump | ReframingPump, flow: PumpResult) -> None:
        """Move the deadline at every progress, by what is waited for now."""
        if self._stream is None or flow is PumpResult.FINISHED:
            return
        if pump is self._download:
            state = (pump.moved, flow)
            patience_s = self._settings.stall_s if flow is PumpResult.WAITS_FOR_SINK else self._settings.silence_s
        elif self._download is not None:
            return
        else:
            state = (pump.moved, flow)
            patience_s = self._settings.stall_s if flow is PumpResult.WAITS_FOR_SOURCE else self._pool.answer_s
        if state != self._last:
            self._last = state
            self._visitor.deadline = self._reactor.now + patience_s
