"""An origin that is a process of its own, to be killed: answers every request without end, and leaves its body unread.

Run as a program it prints its port. Paths select how the answer is framed: /length /chunked /close, or /raw without any
head; and after a second slash how it goes on: /pours without end, or /pauses after the first megabyte.
"""

import socket
import sys
import threading
from pathlib import Path

from tests.kit.programs import Program

FIRST_BYTES = 1_000_000
PROMISED_BYTES = 1 << 40
BLOCK = bytes(range(256)) * 256

_HEADS = {
    "length": f"HTTP/1.1 200 OK\r\nContent-Length: {PROMISED_BYTES}\r\n\r\n",
    "chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "close": "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    "raw": "",
}


def start() -> tuple[Program, int]:
    """Return the running origin and its port."""
    root = Path(__file__).resolve().parents[2]
    program = Program([sys.executable, "-m", "tests.e2e.mortal_origin"], cwd=root, name="the origin")
    return program, int(program.first_line(30))


def _serve(sock: socket.socket) -> None:
    """Answer one request. What follows its head stays unread in the kernel: dying with that is a RST, not an end."""
    head = b""
    while b"\r\n\r\n" not in head:
        head = sock.recv(65536, socket.MSG_PEEK)
        if not head:
            return
    sock.recv(head.index(b"\r\n\r\n") + 4)
    _, framing, going_on = head.split(b" ")[1].decode().split("/")
    sock.sendall(_HEADS[framing].encode())
    piece = b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK) if framing == "chunked" else BLOCK
    sent = 0
    while going_on == "pours" or sent < FIRST_BYTES:
        sock.sendall(piece)
        sent += len(BLOCK)
    threading.Event().wait()


def _guarded(sock: socket.socket) -> None:
    try:
        _serve(sock)
    except OSError:
        pass
    finally:
        sock.close()


def main() -> None:
    """Serve until killed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_guarded, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main()
