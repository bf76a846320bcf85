"""SCRAM-SHA-256: both ends prove that they have a secret, which is never sent and which the server does not store.

RFC 5802 (messages), RFC 7677 (SHA-256), RFC 5929 section 4 (tls-server-end-point). Our profile is narrower: users and
nonces are plain ASCII, no authorization identity, no extensions, and the binding is always SHA-256 of the certificate.

    agent  → server   client-first   n,,n=USER,r=NONCE             (over TLS: p=tls-server-end-point,,n=…)
    server → agent    server-first   r=NONCE+MORE,s=SALT,i=4096
    agent  → server   client-final   c=BINDING,r=NONCE+MORE,p=PROOF
    server → agent    server-final   v=SIGNATURE
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from portway.errors import MisuseError, PeerError, RefusedError
from portway.protocol.control.codes import BAD_CREDENTIALS

ITERATIONS = 4096
"""The minimum of RFC 7677: secrets are 256 random bits, so more iterations add no protection against guessing."""

ITERATIONS_MAX = 100_000
"""The most that a server can make an agent compute (about 50 ms): a hostile one must not block it for minutes."""

KEY_BYTES = 32

_BINDING_NAME = "tls-server-end-point"
_USER = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_NONCE = r"[!-+\--~]{1,256}"
_CLIENT_FIRST = re.compile(rf"(?P<gs2>n|p={_BINDING_NAME}),,(?P<bare>n=(?P<user>[A-Za-z0-9_.\-]{{1,64}}),r=(?P<nonce>{_NONCE}))")
_SERVER_FIRST = re.compile(rf"r=(?P<nonce>{_NONCE}),s=(?P<salt>[A-Za-z0-9+/=]{{4,88}}),i=(?P<iterations>[1-9][0-9]{{0,6}})")
_CLIENT_FINAL = re.compile(rf"(?P<unsigned>c=(?P<binding>[A-Za-z0-9+/=]{{4,128}}),r=(?P<nonce>{_NONCE})),p=(?P<proof>[A-Za-z0-9+/]{{43}}=)")
_SERVER_FINAL = re.compile(r"v=(?P<signature>[A-Za-z0-9+/]{43}=)")


@dataclass(frozen=True, slots=True)
class ScramVerifier:
    """Stored by a server instead of the secret: enough to check a proof, not enough to create one."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


def make_verifier(secret: str, salt: bytes, iterations: int = ITERATIONS) -> ScramVerifier:
    """Return the verifier of `secret`; the salt should be 16 random bytes of its own."""
    client_key, server_key = _keys(secret, salt, iterations)
    return ScramVerifier(salt, iterations, hashlib.sha256(client_key).digest(), server_key)


def decoy_verifier(seed: bytes, user: str) -> ScramVerifier:
    """Return a verifier that matches no secret, always the same: an unknown user must look like a wrong secret.

    `seed` is random and secret; keep it across restarts, or the salts of unknown users change visibly.
    """

    def part(label: bytes) -> bytes:
        return hmac.digest(seed, label + user.encode(), "sha256")

    return ScramVerifier(part(b"salt ")[:16], ITERATIONS, part(b"stored "), part(b"server "))


def fresh_nonce(random_bytes: Callable[[int], bytes]) -> str:
    """Return 192 random bits as 32 characters that are valid in a SCRAM message."""
    return _encoded(random_bytes(24))


def certificate_binding(certificate_der: bytes) -> bytes:
    """Return the channel binding of a TLS link: SHA-256 of the server's certificate.

    RFC 5929 uses SHA-384 for a certificate signed with it; this profile always uses SHA-256, so that no certificate has to be parsed.
    """
    return hashlib.sha256(certificate_der).digest()


class ScramClient:
    """The agent's half: call first(), respond() and verify() once each, in this order."""

    def __init__(self, user: str, secret: str, nonce: str, binding: bytes | None) -> None:
        """`nonce` is from fresh_nonce(); `binding` from certificate_binding(), None on a plain link."""
        if not _USER.fullmatch(user) or not re.fullmatch(_NONCE, nonce):
            raise MisuseError("SCRAM user or nonce with invalid characters")
        self._secret = secret
        self._nonce = nonce
        self._gs2 = _gs2_header(binding)
        self._binding = binding or b""
        self._bare = f"n={user},r={nonce}"
        self._signature = b""
        self._session_key = b""
        self._proven = False

    def first(self) -> str:
        """Return the client-first-message."""
        return self._gs2 + self._bare

    def respond(self, server_first: str) -> str:
        """Return the client-final-message, which proves knowledge of the secret.

        Raises:
            PeerError: malformed, for another nonce, or an iteration count out of bounds.
        """
        if self._signature:
            raise MisuseError("a SCRAM nonce can be used for one challenge only")
        match = _matched(_SERVER_FIRST, server_first, "server-first")
        nonce, iterations = match["nonce"], int(match["iterations"])
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise PeerError("SCRAM server-first does not continue the nonce: a replay, or a reply to another client")
        if not ITERATIONS <= iterations <= ITERATIONS_MAX:
            raise PeerError(f"SCRAM server-first asks for {iterations} iterations: expected {ITERATIONS} to {ITERATIONS_MAX}")
        client_key, server_key = _keys(self._secret, _decoded(match["salt"]), iterations)
        unsigned = f"c={_encoded(self._gs2.encode() + self._binding)},r={nonce}"
        about = f"{self._bare},{server_first},{unsigned}".encode()
        proof = _xor(client_key, _hmac(hashlib.sha256(client_key).digest(), about))
        self._signature = _hmac(server_key, about)
        self._session_key = _derive_session_key(client_key, about)
        return f"{unsigned},p={_encoded(proof)}"

    def verify(self, server_final: str) -> None:
        """Check that the server has the verifier of the secret.

        Raises:
            PeerError: malformed.
            RefusedError: the server could not prove itself; it must not be trusted.
        """
        if not self._signature:
            raise MisuseError("verify() before respond()")
        match = _matched(_SERVER_FINAL, server_final, "server-final")
        if not hmac.compare_digest(_decoded(match["signature"]), self._signature):
            raise RefusedError(
                BAD_CREDENTIALS,
                "the server could not prove that it has this token",
                "Do not trust this address. Check the join string, and which server has this address.",
            )
        self._proven = True

    @property
    def session_key(self) -> bytes:
        """32 bytes known only to the two ends, available after verify()."""
        if not self._proven:
            raise MisuseError("the session key is available only after verify()")
        return self._session_key


class ScramServer:
    """The server's half: call challenge() and finish() once each, in this order."""

    def __init__(self, nonce: str, binding: bytes | None) -> None:
        """`nonce` is from fresh_nonce(); `binding` from certificate_binding(), None on a plain link."""
        if not re.fullmatch(_NONCE, nonce):
            raise MisuseError("SCRAM nonce with invalid characters")
        self._nonce = nonce
        self._gs2 = _gs2_header(binding)
        self._binding = binding or b""
        self._so_far = ""
        self._verifier: ScramVerifier | None = None
        self._session_key = b""

    @staticmethod
    def user_of(client_first: str) -> str:
        """Return the user named in a client-first-message, which is not authenticated yet.

        Raises:
            PeerError: malformed.
        """
        return _matched(_CLIENT_FIRST, client_first, "client-first")["user"]

    def challenge(self, client_first: str, verifier: ScramVerifier) -> str:
        """Return the server-first-message. For an unknown user pass decoy_verifier(), so that nothing is revealed.

        Raises:
            PeerError: malformed.
            RefusedError: only one of the ends uses TLS.
        """
        if self._so_far:
            raise MisuseError("a SCRAM nonce can be used for one challenge only")
        match = _matched(_CLIENT_FIRST, client_first, "client-first")
        if match["gs2"] + ",," != self._gs2:
            raise RefusedError(
                BAD_CREDENTIALS,
                f"the agent's login is for {_describe_link(match['gs2'])}, but this is {_describe_link(self._gs2)}",
                "A proxy between agent and server terminates TLS. Let agents connect to the server's own port.",
            )
        self._verifier = verifier
        self._nonce = match["nonce"] + self._nonce
        server_first = f"r={self._nonce},s={_encoded(verifier.salt)},i={verifier.iterations}"
        self._so_far = f"{match['bare']},{server_first}"
        return server_first

    def finish(self, client_final: str) -> str:
        """Return the server-final-message if the client has proven knowledge of the secret.

        Raises:
            PeerError: malformed.
            RefusedError: wrong secret, binding or nonce, with the same text for all of them.
        """
        verifier, self._verifier = self._verifier, None
        if verifier is None:
            raise MisuseError("finish() needs a challenge, and can be called once")
        match = _matched(_CLIENT_FINAL, client_final, "client-final")
        about = f"{self._so_far},{match['unsigned']}".encode()
        client_key = _xor(_decoded(match["proof"]), _hmac(verifier.stored_key, about))
        known = hmac.compare_digest(hashlib.sha256(client_key).digest(), verifier.stored_key)
        bound = hmac.compare_digest(_decoded(match["binding"]), self._gs2.encode() + self._binding)
        fresh = hmac.compare_digest(match["nonce"], self._nonce)
        if not (known and bound and fresh):
            raise RefusedError(
                BAD_CREDENTIALS,
                "the server does not accept this token",
                "Check the join string, or create a new one with `portway token create`.",
            )
        self._session_key = _derive_session_key(client_key, about)
        return f"v={_encoded(_hmac(verifier.server_key, about))}"

    @property
    def session_key(self) -> bytes:
        """32 bytes known only to the two ends, available after finish()."""
        if not self._session_key:
            raise MisuseError("the session key is available only after finish()")
        return self._session_key


def _keys(secret: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """Return ClientKey and ServerKey (RFC 5802 section 3)."""
    salted = hashlib.pbkdf2_hmac("sha256", secret.encode(), salt, iterations)
    return _hmac(salted, b"Client Key"), _hmac(salted, b"Server Key")


def _derive_session_key(client_key: bytes, about: bytes) -> bytes:
    # The server sees ClientKey only during this exchange (proof xor signature); this key cannot be derived from its store.
    return _hmac(client_key, b"portway session" + about)


def _gs2_header(binding: bytes | None) -> str:
    if binding is None:
        return "n,,"
    if len(binding) != KEY_BYTES:
        raise MisuseError(f"channel binding of {len(binding)} bytes, expected {KEY_BYTES}")
    return f"p={_BINDING_NAME},,"


def _describe_link(gs2: str) -> str:
    return "a plain link" if gs2.startswith("n") else "a TLS link"


def _matched(pattern: re.Pattern[str], text: str, what: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise PeerError(f"SCRAM {what} message of {len(text)} characters is malformed (RFC 5802 section 7; no extensions here)")
    return match


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    # Canonical only: one value has one spelling.
    if _encoded(data) != text:
        raise PeerError("SCRAM message with invalid base64")
    return data


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
