"""Masks secrets in text just before it is written."""

import re

MASK = "•••"

_PATTERNS = (
    # One slash: a join string that was parsed as a path has only one. Eight characters: secrets have at least 22, and the
    # word SECRET in error messages must stay readable.
    (re.compile(r"(portway:/{1,2}[^\s.@/]{1,64}\.)[^\s@]{8,}@"), rf"\g<1>{MASK}@"),
    (re.compile(r"(?i)\b(basic|bearer)(\s+)[A-Za-z0-9+/=._~-]{8,}"), rf"\g<1>\g<2>{MASK}"),
    (re.compile(r"(?i)\b((?:https?|socks(?:5h?|4a?)?)://)[^\s/@]{1,600}@"), rf"\g<1>{MASK}@"),
)

SECRET_CHARS_MIN = 8
"""Shorter texts are not masked: they are not secrets, and would match in ordinary lines."""


class SecretsMask:
    """Replaces secrets by MASK: those registered in this process, and those that match a pattern."""

    def __init__(self) -> None:
        """Start with the patterns only."""
        self._secrets: list[str] = []

    def hide(self, secret: str) -> None:
        """Mask `secret` wherever it appears from now on."""
        if len(secret) >= SECRET_CHARS_MIN and secret not in self._secrets:
            self._secrets.append(secret)

    def __call__(self, text: str) -> str:
        """Return `text` with its secrets masked."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        for pattern, masked in _PATTERNS:
            text = pattern.sub(masked, text)
        return text

    def __repr__(self) -> str:
        return f"<SecretsMask of {len(self._secrets)} secrets>"
