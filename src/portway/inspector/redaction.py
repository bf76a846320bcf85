"""Removes secrets from heads, bodies and frames before they are stored: values are replaced by a placeholder, names remain."""

import re
from collections.abc import Iterable
from fnmatch import translate

from portway.errors import ConfigError, PeerError
from portway.protocol.http1.query_mask import MASK, mask_query

PATTERNS_MAX = 50
HITS_MAX = 20_000
"""Words in one body that may be keys of secrets. A body with more is not stored: each costs a few microseconds, in which relays may have to
wait for the interpreter lock."""

_SECRET_FIELD = re.compile(
    rb"(?:proxy-)?authorization|cookie2?|set-cookie2?|.*(?:api[-_]?key|token|secret|passw|credential|session[-_]?id|private[-_]?key"
    rb"|access[-_]?key|auth[-_]?key|jwt).*|x-auth(?:entication|orization)?|x-(?:amz|goog)-security.*"
)
"""Names of fields, in lower case, whose value is a secret."""

_COOKIES = frozenset({b"cookie", b"cookie2", b"set-cookie", b"set-cookie2"})
_KEEPS_SCHEME = frozenset({b"authorization", b"proxy-authorization"})
_NEVER = frozenset({b"content-length", b"date", b"x-request-start", b"last-modified", b"age", b"expires"})
"""Fields without secrets that differ from head to head."""

_BEARER = re.compile(rb"(?i)\b(bearer|basic|token)([ .]{1,8})([A-Za-z0-9._~+/=-]{8,})")
_JWT = re.compile(rb"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+")
_LINK = re.compile(
    rb"(?i)(/[\w-]{0,40}(?:reset|passw|recover|verif|confirm|activat|invit|magic|unsubscribe|token|one-time|login-link|signin)[\w-]{0,40})((?:/[^/?#\s\"'<>\\,;]{1,512}){1,6})"
)
"""Paths of links that work once: a word such as `reset`, then segments of which one may be a secret."""
_TOKEN_SEGMENT = re.compile(rb"(?=[^/]*[0-9])[A-Za-z0-9._~%+=:-]{8,}|[A-Za-z0-9._~%+=:-]{20,}")
_LINK_WORDS = (b"reset", b"passw", b"recover", b"verif", b"confirm", b"activat", b"invit", b"magic", b"unsubscribe", b"token", b"one-time",
               b"login-link", b"signin")  # fmt: skip

_WORDS = (b"passw", b"passphrase", b"secret", b"token", b"api_key", b"apikey", b"api-key", b"access_key", b"accesskey", b"private_key",
          b"privatekey", b"credential", b"authorization", b"session_id", b"sessionid", b"auth_key", b"card_number", b"cardnumber", b"pwd",
          b"jwt", b"otp", b"cvv")  # fmt: skip
"""Parts of the names of keys whose values are secrets."""
_SHORT = frozenset({b"pwd", b"jwt", b"otp", b"cvv"})
"""Those that must begin a word: `otp` is also a part of `footprint`."""

_KEY_END = re.compile(
    rb"""[\w\-.\[\]%]{0,60}(?:
        (?P<json>\\{0,3}["']\s{0,20}:\s{0,20})
      | (?P<part>"\r?\n(?:[^\r\n]{1,200}\r?\n){0,5}\r?\n)
      | (?P<form>=)
      | (?P<xml>>)
      | (?P<plain>:[ \t]{0,8})
    )""",
    re.VERBOSE,
)
_VALUES = {
    "json": re.compile(rb"""(?P<quote>\\{1,3}")[^"\\]*|"(?:[^"\\]|\\.)*|'(?:[^'\\]|\\.)*|\[[^\]]*|[^\s,}\]"'{\[]+"""),
    "form": re.compile(rb"""["'][^"']*|[^&\s"'<>;,]+"""),
    "xml": re.compile(rb"[^<]+"),
    "plain": re.compile(rb"""["'][^"']*|[^\s,;"'{\[]+"""),
}
_HARMLESS = re.compile(rb"true|false|null|undefined|[0-9.]{1,9}")
"""Values that are no secret behind `token`: `\"max_tokens\": 512`."""
_NOT_SECRET_KEY = re.compile(rb"(?i).*(?:type|expires?(?:_?(?:in|at))?|ur[il]|endpoint|count|length|name|required|policy|hint|label)\W*")
_NAME_BYTES = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.[]%"

_TEXT_TYPES = re.compile(rb"json|x-www-form-urlencoded|multipart/|xml|text/plain|event-stream|yaml|graphql|csv")
_MARKUP_TYPES = re.compile(rb"text/|javascript|ecmascript")
_BINARY_TYPES = re.compile(
    rb"image/(?!svg)|video/|audio/|font/|application/(?:octet-stream|zip|gzip|pdf|wasm|x-tar|grpc|protobuf|x-protobuf)"
)

Span = tuple[int, int, bool]
"""Start and end of a value, and whether its placeholder needs quotes to be valid JSON."""

LINES_REMEMBERED, LINE_BYTES_REMEMBERED = 2_000, 300
"""Lines of heads without secrets: at most 600 kB."""

NAMES_CACHED = 1_000
"""Names of fields whose decision is remembered; senders choose them, so that there must be a bound."""


class TooManyError(PeerError):
    """A body has too many places that may be secrets."""


class Redaction:
    """The rules of one agent. Each method returns the data without secrets, and the names of the places where one was."""

    def __init__(self, patterns: Iterable[str] = (), *, enabled: bool = True) -> None:
        """`patterns` are further names of fields, parameters and keys, with `*` for any characters.

        Raises:
            ConfigError: a pattern is invalid.
        """
        self.enabled = enabled
        own = [_checked(pattern) for pattern in patterns]
        if len(own) > PATTERNS_MAX:
            raise ConfigError(f"expected at most {PATTERNS_MAX} patterns, got {len(own)}")
        self._own = re.compile("|".join(translate(pattern) for pattern in own).encode("latin-1")) if own else None
        self._decisions: dict[bytes, bool] = {}
        self._harmless: set[bytes] = set()
        self._own_words = tuple({max(pattern.split("*"), key=len).encode("latin-1") for pattern in own})

    def head(self, head: bytes) -> tuple[bytes, list[str]]:
        """Redact a request or response head."""
        if not self.enabled:
            return head, []
        lines = head.split(b"\r\n")
        names: list[str] = []
        harmless = self._harmless
        if lines[0] not in harmless:
            clean = self._start_line(lines[0], names)
            self._remember(lines[0], changed=bool(names))
            lines[0] = clean
        for number in range(1, len(lines) - 2):
            line = lines[number]
            if line in harmless:
                continue
            name, colon, value = line.partition(b":")
            lower = name.lower()
            if lower in _NEVER or not colon:
                continue
            redacted = self._field_value(lower, value.strip(b" \t"))
            self._remember(line, changed=redacted is not None)
            if redacted is not None:
                lines[number] = name + b": " + redacted
                names.append(f"header {name.decode('latin-1')}")
        return (b"\r\n".join(lines) if names else head), names

    def _remember(self, line: bytes, *, changed: bool) -> None:
        """Remember a line without secrets, as nearly all lines of a head are those of the one before."""
        if not changed and len(line) <= LINE_BYTES_REMEMBERED:
            if len(self._harmless) >= LINES_REMEMBERED:
                self._harmless.clear()
            self._harmless.add(line)

    def body(self, data: bytes, content_type: bytes) -> tuple[bytes, list[str]]:
        """Redact a decoded body; `content_type` is the lower-case value of its field.

        Raises:
            TooManyError: it must not be stored.
        """
        if not self.enabled or not data or _BINARY_TYPES.match(content_type) is not None:
            return data, []
        names: list[str] = []
        if content_type.startswith(b"application/x-www-form-urlencoded"):
            data = self._query(data, names, "body")
            return data, names
        is_text = _TEXT_TYPES.search(content_type) is not None or (not content_type and b"\0" not in data[:1024])
        if is_text or _MARKUP_TYPES.search(content_type) is not None:
            data = self._text(data, names, in_markup=not is_text)
        return data, names

    def message(self, data: bytes) -> tuple[bytes, bool]:
        """Redact the payload of a frame or an event; also return whether there was a secret."""
        if not self.enabled or not data or b"\0" in data[:256]:
            return data, False
        names: list[str] = []
        try:
            data = self._text(data, names, in_markup=False)
        except TooManyError:
            return b"", True
        return data, bool(names)

    def _start_line(self, line: bytes, names: list[str]) -> bytes:
        method, space, rest = line.partition(b" ")
        if not space or line.startswith(b"HTTP/"):
            return line
        target, space, version = rest.rpartition(b" ")
        path, mark, query = target.partition(b"?")
        clean_path = _mask_links(path)
        if clean_path != path:
            names.append("path")
        clean_query = self._query(query, names, "query") if query else query
        return method + b" " + clean_path + mark + clean_query + space + version

    def _query(self, query: bytes, names: list[str], place: str) -> bytes:
        masked = mask_query(query)
        if self._own is not None:
            masked = b"&".join([self._own_pair(pair) for pair in masked.split(b"&")])
        if masked is query or masked == query:
            return query
        for before, after in zip(query.split(b"&"), masked.split(b"&"), strict=True):
            if before != after:
                names.append(f"{place} {before.partition(b'=')[0].decode('latin-1')[:60]}")
        return masked

    def _own_pair(self, pair: bytes) -> bytes:
        name, equals, value = pair.partition(b"=")
        return name + equals + MASK if value and self._own is not None and self._own.match(name.lower()) else pair

    def _is_secret(self, name: bytes) -> bool:
        known = self._decisions.get(name)
        if known is None:
            known = _SECRET_FIELD.fullmatch(name) is not None or (self._own is not None and self._own.match(name) is not None)
            if len(self._decisions) < NAMES_CACHED:
                self._decisions[name] = known
        return known

    def _field_value(self, name: bytes, value: bytes) -> bytes | None:
        """Return the value without secrets; None if it has none."""
        if not value:
            return None
        if name in _COOKIES:
            return _mask_cookies(name, value)
        if self._is_secret(name):
            scheme, space, _ = value.partition(b" ")
            return scheme + space + MASK if space and name in _KEEPS_SCHEME else MASK
        clean = _mask_values(value)
        if b"=" in clean and b"?" in clean:
            before, mark, query = clean.partition(b"?")
            clean = before + mark + self._query(query, [], "")
        return None if clean == value else clean

    def _text(self, data: bytes, names: list[str], *, in_markup: bool) -> bytes:
        spans = sorted(self._spans(data, names, in_markup=in_markup))
        parts: list[bytes] = []
        at = 0
        for start, end, quoted in spans:
            if start >= at:
                parts += (data[at:start], b'"%b"' % MASK if quoted else MASK)
            at = max(at, end)
        parts.append(data[at:])
        found = b"".join(parts) if spans else data
        clean = _mask_values(found)
        if clean != found:
            names.append("body")
        return clean

    def _spans(self, data: bytes, names: list[str], *, in_markup: bool) -> Iterable[Span]:
        """Yield where the values of secret keys are. Each word is searched by itself: one large expression would take 50 times as long."""
        lower = data.lower()
        hits = 0
        for word in (*_WORDS, *self._own_words):
            at = lower.find(word)
            while at >= 0:
                hits += 1
                if hits > HITS_MAX:
                    raise TooManyError("too many keys of secrets to be searched")
                span = self._value_at(data, lower, at, word, in_markup=in_markup)
                after = at + len(word)
                if span is not None:
                    yield span
                    key = _key_around(data, at)
                    if len(names) < 20 and f"body {key}" not in names:
                        names.append(f"body {key}")
                    after = max(after, span[1])  # not again within the value: that would make the cost quadratic
                at = lower.find(word, after)

    def _value_at(self, data: bytes, lower: bytes, at: int, word: bytes, *, in_markup: bool) -> Span | None:
        """Return where the value of the key is that has `word` at `at`; None if it is no key, or no secret."""
        if word in _SHORT and at and lower[at - 1 : at].isalpha():
            return None
        key = _KEY_END.match(data, at)
        if key is None:
            return None
        start, form = key.end(), key.lastgroup or "plain"
        begin = at - len(_before(lower, at))
        if in_markup and not (form == "form" and lower[begin - 1 : begin] in (b"?", b"&", b";")):
            return None
        name = lower[begin : key.start(form)]
        if word in self._own_words and word not in _WORDS and (self._own is None or not self._own.match(name)):
            return None
        if word == b"token" and _NOT_SECRET_KEY.fullmatch(name) is not None:
            return None
        if form == "part":
            end = data.find(b"\r\n--", start)
            return start, len(data) if end < 0 else end, False
        value = _VALUES[form].match(data, start)
        if value is None or value.end() == start:
            return None
        text = value[0]
        bare = form == "json"
        if text[:1] in b"\"'[":
            start += 1
            bare = text[:1] == b"["
        elif form == "json" and text[:1] == b"\\":
            start += len(value["quote"])
            bare = False
        elif word == b"token" and _HARMLESS.fullmatch(text):
            return None
        return (start, value.end(), bare) if value.end() > start else None


def _checked(pattern: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.*-]{2,80}", pattern) or len(max(pattern.split("*"), key=len)) < 2:
        raise ConfigError(f"invalid name {pattern!r}: expected the name of a field or key, with * for any characters, such as x-internal-*")
    return pattern.lower()


def _before(lower: bytes, at: int) -> bytes:
    """Return the part of a name that is in front of `at`."""
    text = lower[max(0, at - 60) : at]
    return text[len(text.rstrip(_NAME_BYTES)) :]


def _key_around(data: bytes, at: int) -> str:
    key = re.match(rb"[\w\-.]{0,60}", data[at : at + 60])
    return (_before(data, at) + (key[0] if key else b"")).decode("latin-1")


def _mask_cookies(name: bytes, value: bytes) -> bytes:
    """Mask the values of cookies; names and attributes remain."""
    cookies = value.split(b";")
    if name.startswith(b"set-"):
        cookie, equals, _ = cookies[0].partition(b"=")
        return b";".join([cookie + equals + MASK if equals else MASK, *cookies[1:]])
    return b";".join([cookie.partition(b"=")[0] + b"=" + MASK if b"=" in cookie else MASK for cookie in cookies])


def _mask_values(text: bytes) -> bytes:
    """Mask what looks like a secret by itself: bearer tokens, JSON web tokens, links that work once."""
    if b"eyJ" in text:
        text = _JWT.sub(MASK, text)
    if len(text) < 8:
        return text
    lower = text.lower()
    if b"bearer" in lower or b"basic " in lower or b"token " in lower:
        text = _BEARER.sub(lambda match: match[1] + match[2] + MASK, text)
    return _mask_links(text) if b"/" in text else text


def _mask_links(text: bytes) -> bytes:
    lower = text.lower()
    if not any(word in lower for word in _LINK_WORDS):
        return text
    return _LINK.sub(_masked_link, text)


def _masked_link(match: "re.Match[bytes]") -> bytes:
    segments = match[2].split(b"/")
    return match[1] + b"/".join([MASK if _TOKEN_SEGMENT.fullmatch(segment) else segment for segment in segments])
