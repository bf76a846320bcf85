"""Chat of the sample site: broadcasts messages to all open pages."""

import asyncio
from typing import Final

import msgspec

PARTICIPANTS_MAX = 64
"""Open pages at a time; this is a demo, not a chat service."""
TEXT_CHARS_MAX = 280
FRAME_CHARS_MAX = 4096
"""Bound for a message of 280 characters in JSON; longer frames are errors."""
_OUTBOX_MAX = 64
"""Messages queued for one page; a page that reads too slowly is disconnected."""
_POST_INTERVAL_S = 0.2
"""At most five messages per second from one page, against flooding."""


class Echo(msgspec.Struct, frozen=True, tag_field="t", tag="echo"):
    """Page → site: send this back at once."""

    n: int
    """Number of the round trip, chosen by the page."""


class Post(msgspec.Struct, frozen=True, tag_field="t", tag="post"):
    """Page → site: send a message to all pages."""

    text: str


class Hello(msgspec.Struct, frozen=True, tag_field="t", tag="hello"):
    """Site → page: name of this participant."""

    name: str


class Participants(msgspec.Struct, frozen=True, tag_field="t", tag="participants"):
    """Site → all pages: number of open pages."""

    count: int


class Posted(msgspec.Struct, frozen=True, tag_field="t", tag="posted"):
    """Site → all pages: a message, and the name of its sender."""

    name: str
    text: str


class Link(msgspec.Struct, frozen=True, tag_field="t", tag="link"):
    """Site → all pages: the link's latest round-trip time."""

    rtt_s: float
    """Seconds."""
    fresh: bool
    """False for the one measured at the agent's login."""


PageMessage = Echo | Post
SiteMessage = Echo | Hello | Participants | Posted | Link

_decoder: Final = msgspec.json.Decoder(PageMessage)


def decode(frame: str) -> PageMessage | None:
    """Return the message in a frame, or None if it is invalid."""
    try:
        message: PageMessage = _decoder.decode(frame)
        return message
    except msgspec.DecodeError:
        return None


def encode(message: SiteMessage) -> str:
    """Return a message as one JSON text frame."""
    return msgspec.json.encode(message).decode()


class Participant:
    """One open page."""

    def __init__(self, name: str) -> None:
        """Start with an empty outbox."""
        self.name = name
        self.outbox: asyncio.Queue[SiteMessage | None] = asyncio.Queue(_OUTBOX_MAX)
        """Messages to send, in order; None closes the connection."""
        self.posted_at = -_POST_INTERVAL_S

    def send(self, message: SiteMessage) -> None:
        """Queue a message; if the outbox is full, discard it and close the connection."""
        try:
            self.outbox.put_nowait(message)
        except asyncio.QueueFull:
            while not self.outbox.empty():
                self.outbox.get_nowait()
            self.outbox.put_nowait(None)


class ChatRoom:
    """All open pages.

    Methods are synchronous, so each call is atomic.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._participants: list[Participant] = []
        self._joined = 0

    def join(self) -> Participant | None:
        """Add and return a participant, and send it its name; None if the chat is full."""
        if len(self._participants) >= PARTICIPANTS_MAX:
            return None
        self._joined += 1
        participant = Participant(f"visitor {self._joined}")
        self._participants.append(participant)
        participant.send(Hello(participant.name))
        self.broadcast(Participants(len(self._participants)))
        return participant

    def leave(self, participant: Participant) -> None:
        """Remove a participant; may be called twice."""
        if participant in self._participants:
            self._participants.remove(participant)
            self.broadcast(Participants(len(self._participants)))

    def post(self, participant: Participant, text: str, now: float) -> bool:
        """Broadcast a message; return False if it is empty or too early after the last one."""
        text = " ".join(text.split())[:TEXT_CHARS_MAX]
        if not text or now - participant.posted_at < _POST_INTERVAL_S:
            return False
        participant.posted_at = now
        self.broadcast(Posted(participant.name, text))
        return True

    def broadcast(self, message: SiteMessage) -> None:
        """Queue a message for all participants."""
        for participant in list(self._participants):
            participant.send(message)
