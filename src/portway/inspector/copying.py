"""Writes a captured request as a command or program that sends it again: curl, fetch, httpx. Quoting is safe for any bytes."""

import json
import re
from collections.abc import Sequence

FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "host", "expect", "te", "upgrade", "keep-alive", "trailer"})
"""Fields that the client writes itself."""

FROM_EDGE = ("x-forwarded-", "forwarded", "x-request-start", "cdn-loop", "via")
"""Fields that the server adds, or their beginnings."""

Fields = Sequence[tuple[str, str]]

_PLAIN = re.compile(r"[A-Za-z0-9@%+=:,./_-]+", re.ASCII)


def own_fields(fields: Fields) -> list[tuple[str, str]]:
    """Return the fields that the visitor's client chose."""
    return [(name, value) for name, value in fields if name.lower() not in FRAMING and not name.lower().startswith(FROM_EDGE)]


def as_curl(method: str, url: str, fields: Fields, body: bytes) -> str:
    """Return a command for a POSIX shell. A body that is not plain text is written by printf and read from stdin."""
    words = ["curl", *(["-I"] if method == "HEAD" else ["-X", _quoted(method)] if method != ("POST" if body else "GET") else [])]
    words += ["--globoff", "--path-as-is", _quoted(url)]
    given = own_fields(fields)
    for name, value in given:
        words += ["-H", _quoted(f"{name}: {value}" if value else f"{name};")]
    names = {name.lower() for name, _ in given}
    for name in ("User-Agent", "Accept", *(("Content-Type",) if body else ())):
        if name.lower() not in names:
            words += ["-H", f"'{name}:'"]  # curl would add its own
    if not body:
        return " ".join(words)
    if _is_text(body) and not body.startswith(b"@"):  # @ would name a file
        return " ".join([*words, "--data-raw", _quoted(body.decode())])
    return _piped(words, body)


def _piped(words: list[str], body: bytes) -> str:
    octal = "".join(chr(byte) if 0x20 <= byte < 0x7F and chr(byte) not in "\\%'" else f"\\{byte:03o}" for byte in body)
    return f"printf '{octal}' | {' '.join([*words, '--data-binary', '@-'])}"


def as_fetch(method: str, url: str, fields: Fields, body: bytes) -> str:
    """Return JavaScript."""
    lines = [f"await fetch({_js(url)}, {{", f"  method: {_js(method)},", "  headers: ["]
    lines += [f"    [{_js(name)}, {_js(value)}]," for name, value in own_fields(fields)]
    lines.append("  ],")
    if body:
        code = _js(body.decode()) if _is_text(body) else f"new Uint8Array([{', '.join(map(str, body))}])"
        lines.append(f"  body: {code},")
    return "\n".join([*lines, "});"])


def as_httpx(method: str, url: str, fields: Fields, body: bytes) -> str:
    """Return Python for the package httpx."""
    lines = ["import httpx", "", "response = httpx.request(", f"    {method!a},", f"    {url!a},", "    headers=["]
    lines += [f"        ({name!a}, {value.encode('latin-1')!r})," for name, value in own_fields(fields)]
    lines.append("    ],")
    if body:
        lines.append(f"    content={body!r},")
    return "\n".join([*lines, ")"])


def _is_text(body: bytes) -> bool:
    """Return whether a body can be an argument: UTF-8 without NUL, which no argument can contain."""
    if b"\0" in body or b"\r" in body:
        return False
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _quoted(text: str) -> str:
    """Quote a word for a POSIX shell."""
    return text if _PLAIN.fullmatch(text) else "'" + text.replace("'", "'\\''") + "'"


def _js(text: str) -> str:
    return json.dumps(text).replace("</", "<\\/").replace("\u2028", "\\u2028")
