"""The sample site's two WebSockets: the page's live room, and a plain echo for any client."""

import asyncio

from starlette.websockets import WebSocket, WebSocketDisconnect

from portway.clock import Clock
from portway.demo.site_chat import FRAME_CHARS_MAX, ChatRoom, Echo, Participant, Say, decode, encode

_SEND_S_MAX = 20.0
"""A page that takes nothing for so long is gone."""

_UNSUPPORTED, _POLICY, _TOO_BIG, _TRY_LATER = 1003, 1008, 1009, 1013


async def echo(socket: WebSocket) -> None:
    """Send every frame back as it came."""
    await socket.accept()
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if (data := message.get("bytes")) is not None:
                await socket.send_bytes(data)
            else:
                await socket.send_text(message["text"])
    except WebSocketDisconnect:
        return


async def live(socket: WebSocket, chat: ChatRoom, clock: Clock) -> None:
    """Let one page into the room until it leaves."""
    if not same_site(socket):
        await socket.close(_POLICY, "open this WebSocket from the demo's own page")
        return
    guest = chat.enter()
    if guest is None:
        await socket.close(_TRY_LATER, "the room is full")
        return
    try:
        await socket.accept()
        async with asyncio.TaskGroup() as ways:
            telling = ways.create_task(_tell(socket, guest), name=f"tell {guest.name}")
            await _hear(socket, chat, guest, clock)
            telling.cancel()
    except* (WebSocketDisconnect, TimeoutError):
        pass  # the page went away; the room goes on
    finally:
        chat.leave(guest)


def same_site(socket: WebSocket) -> bool:
    """Say whether the page that opens this WebSocket is ours: browsers let any page in the world try."""
    origin = socket.headers.get("origin")
    if origin is None:
        return True
    ours = {socket.headers.get("host"), socket.headers.get("x-forwarded-host")}
    return origin.partition("://")[2] in ours


async def _hear(socket: WebSocket, chat: ChatRoom, guest: Participant, clock: Clock) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        frame = message.get("text") or ""
        if len(frame) > FRAME_CHARS_MAX:
            await socket.close(_TOO_BIG)
            return
        match decode(frame):
            case Echo() as ping:
                # Waits while the outbox is full: who does not read is not read from.
                await guest.outbox.put(ping)
            case Say(text):
                chat.say(guest, text, clock())
            case None:
                await socket.close(_UNSUPPORTED)
                return


async def _tell(socket: WebSocket, guest: Participant) -> None:
    while (message := await guest.outbox.get()) is not None:
        async with asyncio.timeout(_SEND_S_MAX):
            await socket.send_text(encode(message))
    await socket.close(_TRY_LATER, "this page reads too slowly")
