"""The sample site's two WebSockets: the page's chat, and a plain echo for any client."""

import asyncio

from starlette.websockets import WebSocket, WebSocketDisconnect

from portway.clock import Clock
from portway.demo.site_chat import FRAME_CHARS_MAX, ChatRoom, Echo, Participant, Post, decode, encode

_SEND_S_MAX = 20.0
"""A page that reads nothing for this time is disconnected."""

_UNSUPPORTED, _POLICY, _TOO_BIG, _TRY_LATER = 1003, 1008, 1009, 1013


async def echo(socket: WebSocket) -> None:
    """Send every frame back unchanged."""
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
    """Serve one page until it disconnects."""
    if not same_site(socket):
        await socket.close(_POLICY, "this WebSocket is only for the demo's own page")
        return
    participant = chat.join()
    if participant is None:
        await socket.close(_TRY_LATER, "the chat is full")
        return
    try:
        await socket.accept()
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(_send(socket, participant), name=f"send to {participant.name}")
            await _receive(socket, chat, participant, clock)
            sending.cancel()
    except* (WebSocketDisconnect, TimeoutError):
        pass  # the page disconnected
    finally:
        chat.leave(participant)


def same_site(socket: WebSocket) -> bool:
    """Return whether the demo's own page opens this WebSocket: browsers allow any page to try."""
    origin = socket.headers.get("origin")
    if origin is None:
        return True
    own_hosts = {socket.headers.get("host"), socket.headers.get("x-forwarded-host")}
    return origin.partition("://")[2] in own_hosts


async def _receive(socket: WebSocket, chat: ChatRoom, participant: Participant, clock: Clock) -> None:
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
                # Waits while the outbox is full, so that a page that does not read is not read from.
                await participant.outbox.put(ping)
            case Post(text):
                chat.post(participant, text, clock())
            case None:
                await socket.close(_UNSUPPORTED)
                return


async def _send(socket: WebSocket, participant: Participant) -> None:
    while (message := await participant.outbox.get()) is not None:
        async with asyncio.timeout(_SEND_S_MAX):
            await socket.send_text(encode(message))
    await socket.close(_TRY_LATER, "this page reads too slowly")
