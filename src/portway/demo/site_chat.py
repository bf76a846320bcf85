"""The live room of the sample site: everybody who has the page open hears what anybody says."""

import asyncio
from typing import Final

import msgspec

GUESTS_MAX = 64
"""People in the room at once; a demo, not a chat service."""
TEXT_CHARS_MAX = 280
FRAME_CHARS_MAX = 4096
"""A message of 280 characters in JSON, at its longest; a longer frame is a mistake."""
_OUTBOX_MAX = 64
"""Messages waiting for one guest; who reads slower than the others talk is shown out."""
_SAY_EVERY_S = 0.2
"""At most five messages a second from one guest, so that nobody floods the others."""


class Echo(msgspec.Struct, frozen=True, tag_field="t", tag="echo"):
    """Guest → site: send this back at once."""

    n: int
    """Number of the round trip, chosen by the page."""


class Say(msgspec.Struct, frozen=True, tag_field="t", tag="say"):
    """Guest → site: tell everybody."""

    text: str


class Hello(msgspec.Struct, frozen=True, tag_field="t", tag="hello"):
    """Site → guest: who you are here."""

    name: str


class People(msgspec.Struct, frozen=True, tag_field="t", tag="people"):
    """Site → everybody: how many have the page open."""

    count: int


class Said(msgspec.Struct, frozen=True, tag_field="t", tag="said"):
    """Site → everybody: somebody said something."""

    who: str
    text: str


class Link(msgspec.Struct, frozen=True, tag_field="t", tag="link"):
    """Site → everybody: the link's newest round trip."""

    rtt_s: float
    """Seconds."""
    fresh: bool
    """False for the one of the agent's login."""


Heard = Echo | Say
Told = Echo | Hello | People | Said | Link

_heard: Final = msgspec.json.Decoder(Heard)


def decode(frame: str) -> Heard | None:
    """Return the guest's message, or None when the frame is none of ours."""
    try:
        message: Heard = _heard.decode(frame)
        return message
    except msgspec.DecodeError:
        return None


def encode(message: Told) -> str:
    """Return a message as one JSON text frame."""
    return msgspec.json.encode(message).decode()


class Participant:
    """One open page."""

    def __init__(self, name: str) -> None:
        """Start with nothing to be sent."""
        self.name = name
        self.outbox: asyncio.Queue[Told | None] = asyncio.Queue(_OUTBOX_MAX)
        """What is to be sent to this guest, in order; None means that the guest has to go."""
        self.said_at = -_SAY_EVERY_S

    def tell(self, message: Told) -> None:
        """Put a message into the outbox; a guest whose outbox is full is shown out instead."""
        try:
            self.outbox.put_nowait(message)
        except asyncio.QueueFull:
            while not self.outbox.empty():
                self.outbox.get_nowait()
            self.outbox.put_nowait(None)


class ChatRoom:
    """Everybody who has the page open.

    Every method is synchronous, so each call is atomic: nobody sees half a change.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._guests: list[Participant] = []
        self._named = 0

    def enter(self) -> Participant | None:
        """Return a new guest, greeted, or None when the room is full."""
        if len(self._guests) >= GUESTS_MAX:
            return None
        self._named += 1
        guest = Participant(f"visitor {self._named}")
        self._guests.append(guest)
        guest.tell(Hello(guest.name))
        self.tell(People(len(self._guests)))
        return guest

    def leave(self, guest: Participant) -> None:
        """Forget a guest; may be called twice."""
        if guest in self._guests:
            self._guests.remove(guest)
            self.tell(People(len(self._guests)))

    def say(self, guest: Participant, text: str, now: float) -> bool:
        """Tell everybody what the guest said; False when the guest talks too fast or says nothing."""
        text = " ".join(text.split())[:TEXT_CHARS_MAX]
        if not text or now - guest.said_at < _SAY_EVERY_S:
            return False
        guest.said_at = now
        self.tell(Said(guest.name, text))
        return True

    def tell(self, message: Told) -> None:
        """Put a message into everybody's outbox."""
        for guest in list(self._guests):
            guest.tell(message)
