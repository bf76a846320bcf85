"""Takes secrets out of text at the last moment, whatever path they took into it."""

import re

MASK = "•••"

_PATTERNS = (
    # One slash: what is left of a join string that somebody gave where a path belongs. Eight characters: no secret has
    # fewer than 22, and the word SECRET in our own advice shall stay readable.
    (re.compile(r"(portway:/{1,2}[^\s.@/]{1,64}\.)[^\s@]{8,}@"), rf"\g<1>{MASK}@"),
    (re.compile(r"(?i)\b(basic|bearer)(\s+)[A-Za-z0-9+/=._~-]{8,}"), rf"\g<1>\g<2>{MASK}"),
)

SECRET_CHARS_MIN = 8
"""Shorter text is no secret, and masking it would spoil every line that it happens to be in."""


class SecretsMask:
    """Knows how secrets look, and the very secrets of this process."""

    def __init__(self) -> None:
        """Start with the patterns alone."""
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
