"""What CPython's own TLS (OpenSSL) makes of a ClientHello: the name it would choose a certificate by, or the alert it sends."""

import ssl
import sys
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Accepted:
    """The hello is right, and this is its server name, as it came."""

    server_name: str | None


@dataclass(frozen=True)
class Refused:
    """The hello is wrong: OpenSSL's reason, and the alert it sends, if any."""

    reason: str
    alert: int | None


@cache
def _context() -> tuple[ssl.SSLContext, list[str | None]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    seen: list[str | None] = []

    def on_name(_tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int:
        # The name is all that is asked for: nothing is signed, and no certificate is needed.
        seen.append(name)
        return ssl.ALERT_DESCRIPTION_USER_CANCELLED

    context.sni_callback = on_name
    return context, seen


def openssl_opinion(wire: bytes) -> Accepted | Refused | None:
    """Return what OpenSSL makes of the first bytes of a connection; None: it waits for more."""
    context, seen = _context()
    seen.clear()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(wire)
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    hook = sys.unraisablehook
    # A name that is not ASCII never reaches the callback: CPython prints the error and sends internal_error.
    sys.unraisablehook = lambda _: None
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return None
    except ssl.SSLError as exc:
        if seen:
            return Accepted(seen[0])
        sent = outgoing.read()
        return Refused(exc.reason or str(exc), sent[-1] if sent[:1] == b"\x15" else None)
    finally:
        sys.unraisablehook = hook
    raise AssertionError("a handshake cannot end with a hello")


def alert_as_a_client_sees_it(record: bytes) -> str:
    """Return OpenSSL's word for an alert that came in reply to its hello."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming = ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, ssl.MemoryBIO(), server_hostname="a.example")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        incoming.write(record)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return "nothing"
    except ssl.SSLError as exc:
        return exc.reason or str(exc)
    raise AssertionError("a handshake cannot end with an alert")
