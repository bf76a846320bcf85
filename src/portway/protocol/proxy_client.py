"""The client's side of a proxy's protocol: HTTP CONNECT or SOCKS5, until the connection to the target is established. Pure.

A target may speak first, right behind the proxy's reply. So a dialogue has a count of the bytes that it certainly needs, and its caller reads no
more than these: whatever follows stays in the channel.
"""

from abc import ABC, abstractmethod
from base64 import b64encode
from dataclasses import dataclass

from portway.errors import PeerError
from portway.protocol import socks5
from portway.protocol.proxy_status import ProxyStatus, parse_proxy_status
from portway.protocol.proxy_url import ProxyUrl

HEAD_BYTES_MAX = 16 * 1024
"""The longest response head of a proxy, including interim ones; some add long Set-Cookie or Via fields."""

_HEAD_END = b"\r\n\r\n"
_PROTOCOL = b"HTTP/1."


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a proxy did not connect."""

    error: str
    """An error token of Proxy-Status (RFC 9209 section 2.3), or `authentication`: the proxy wants (other) credentials."""
    text: str
    """What the proxy replied, for people."""
    hops: tuple[ProxyStatus, ...] = ()
    """What the proxies behind this one reported, beginning with that which is closest to the target."""


class Dialogue(ABC):
    """One dialogue with a proxy. Send `start()`, then read at most `wanted` bytes at a time and pass them to `feed`."""

    wanted: int = 0
    """Bytes that may be read without reading beyond the proxy's last reply; 0 once the dialogue has ended."""
    refusal: Refusal | None = None
    """Set if the proxy refused; otherwise the channel leads to the target when `wanted` is 0."""

    @abstractmethod
    def start(self) -> bytes:
        """Return the first bytes for the proxy."""

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """Handle received bytes, at most `wanted`; return what to send next.

        Raises:
            PeerError: this is not a proxy of that kind.
        """

    def _refuse(self, error: str, text: str, hops: tuple[ProxyStatus, ...] = ()) -> None:
        self.refusal, self.wanted = Refusal(error, text, hops), 0


def dialogue_with(proxy: ProxyUrl, host: str, port: int) -> Dialogue:
    """Return the dialogue that asks `proxy` for a connection to `host:port`, a name or an address without brackets."""
    return Socks5Dialogue(proxy, host, port) if proxy.scheme == "socks5" else ConnectDialogue(proxy, host, port)


class ConnectDialogue(Dialogue):
    """HTTP CONNECT (RFC 9110 section 9.3.6)."""

    def __init__(self, proxy: ProxyUrl, host: str, port: int) -> None:
        """Ask `proxy` for `host:port`."""
        self._proxy = proxy
        self._authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._head = bytearray()
        self._total = 0

    def start(self) -> bytes:
        """Return the request."""
        self.wanted = len(_HEAD_END)
        lines = [f"CONNECT {self._authority} HTTP/1.1", f"Host: {self._authority}"]
        if self._proxy.has_credentials:
            basic = b64encode(self._proxy.user + b":" + self._proxy.password).decode("ascii")
            lines.append(f"Proxy-Authorization: Basic {basic}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")

    def feed(self, data: bytes) -> bytes:
        """Handle a part of the response head."""
        head = self._head
        head += data
        self._total += len(data)
        if not head.startswith(_PROTOCOL[: len(head)]):
            raise PeerError("it does not respond with HTTP")
        if head.endswith(_HEAD_END):
            self._on_head(bytes(head))
        elif self._total > HEAD_BYTES_MAX:
            raise PeerError(f"its response head has more than {HEAD_BYTES_MAX} bytes")
        else:
            begun = next(size for size in (3, 2, 1, 0) if head.endswith(_HEAD_END[:size]))
            self.wanted = len(_HEAD_END) - begun
        return b""

    def _on_head(self, head: bytes) -> None:
        first, *lines = head[: -len(_HEAD_END)].split(b"\r\n")
        code, _, phrase = first[len(_PROTOCOL) + 2 :].partition(b" ")
        if first[len(_PROTOCOL) + 1 : len(_PROTOCOL) + 2] != b" " or len(code) != 3 or not code.isdigit():
            raise PeerError("invalid status line")
        if code.startswith(b"1"):  # an interim response: the final one follows
            self._head.clear()
            self.wanted = len(_HEAD_END)
            return
        if code.startswith(b"2"):
            self.wanted = 0
            return
        values = [line.partition(b":")[2] for line in lines if line.partition(b":")[0].strip().lower() == b"proxy-status"]
        hops = parse_proxy_status(b",".join(values))
        text = "".join(char if " " <= char <= "~" else "?" for char in (code + b" " + phrase).decode("latin-1").strip())[:100]
        failed = next((hop for hop in hops if hop.error), None)
        if code == b"407":
            self._refuse("authentication", text)
        else:
            self._refuse(failed.error if failed else _ERROR_OF_STATUS.get(code, "destination_unavailable"), text, hops)


_ERROR_OF_STATUS = {
    b"400": "http_request_error",
    b"403": "http_request_denied",
    b"405": "http_request_error",
    b"429": "connection_limit_reached",
    b"500": "proxy_internal_error",
    b"504": "connection_timeout",
    b"508": "proxy_loop_detected",
}
"""For proxies that send no Proxy-Status."""


class Socks5Dialogue(Dialogue):
    """SOCKS5 (RFC 1928), with user name and password (RFC 1929) if there are credentials. The proxy resolves names."""

    def __init__(self, proxy: ProxyUrl, host: str, port: int) -> None:
        """Ask `proxy` for `host:port`."""
        self._proxy = proxy
        self._target = host, port
        self._data = bytearray()
        self._step = self._on_choice

    def start(self) -> bytes:
        """Return the greeting. With credentials both methods are offered, because a proxy may not need them."""
        self.wanted = 2
        methods = (socks5.NO_AUTHENTICATION, socks5.PASSWORD) if self._proxy.has_credentials else (socks5.NO_AUTHENTICATION,)
        return socks5.encode_greeting(bytes(methods))

    def feed(self, data: bytes) -> bytes:
        """Handle a part of a reply."""
        self._data += data
        return self._step(bytes(self._data))

    def _on_choice(self, data: bytes) -> bytes:
        method = socks5.parse_choice(data)
        if method is None:
            self.wanted = 2 - len(data)
            return b""
        self._data.clear()
        if method == socks5.NO_AUTHENTICATION:
            return self._request()
        if method == socks5.PASSWORD and self._proxy.has_credentials:
            self._step, self.wanted = self._on_verdict, 2
            return socks5.encode_credentials(self._proxy.user or b" ", self._proxy.password or b" ")
        if method in (socks5.PASSWORD, socks5.NO_METHOD):
            self._refuse("authentication", "it accepts none of the offered ways to authenticate")
            return b""
        raise PeerError(f"it chose the authentication method {method}, which was not offered")

    def _on_verdict(self, data: bytes) -> bytes:
        accepted = socks5.parse_verdict(data)
        if accepted is None:
            self.wanted = 2 - len(data)
            return b""
        self._data.clear()
        if accepted:
            return self._request()
        self._refuse("authentication", "it refused the credentials")
        return b""

    def _request(self) -> bytes:
        self._step, self.wanted = self._on_reply, _REPLY_BYTES_MIN
        return socks5.encode_request(socks5.CONNECT, *self._target)

    def _on_reply(self, data: bytes) -> bytes:
        found = socks5.parse_reply(data)
        if found is None:
            # Until the first byte of the address is known, only the shortest message is certain: that with a name of one byte.
            size = _REPLY_BYTES.get(data[3], 7 + data[4]) if len(data) > 4 else _REPLY_BYTES_MIN
            self.wanted = size - len(data)
            return b""
        reply, _ = found
        self.wanted = 0
        if reply.code != socks5.SUCCEEDED:
            text = socks5.REPLY_TEXTS.get(reply.code, "unknown")
            self._refuse(_ERROR_OF_REPLY.get(reply.code, "destination_unavailable"), f"SOCKS5 reply {reply.code}: {text}")
        return b""


_REPLY_BYTES_MIN = 5
_REPLY_BYTES = {1: 10, 4: 22}
_ERROR_OF_REPLY = {
    socks5.NOT_ALLOWED: "http_request_denied",
    socks5.NETWORK_UNREACHABLE: "destination_ip_unroutable",
    socks5.HOST_UNREACHABLE: "dns_error",
    socks5.REFUSED: "connection_refused",
    socks5.TTL_EXPIRED: "connection_timeout",
    socks5.COMMAND_UNSUPPORTED: "http_request_error",
}
