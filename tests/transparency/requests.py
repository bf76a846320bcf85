"""The requests: what common clients send, and what is unusual but has one meaning."""

from dataclasses import dataclass, field

from tests.transparency.client import Drip, Step

CRLF = b"\r\n"


@dataclass(frozen=True)
class Request:
    """One request. `{host}` in it stands for the tunnel's host and port."""

    name: str
    steps: tuple[Step, ...]
    method: str = "GET"
    responses: int = 1
    skip: frozenset[str] = field(default_factory=frozenset)
    """Servers that reject it even directly, or whose responses vary."""


def head(method: str = "GET", target: str = "/", *lines: str, version: str = "1.1", host: str | None = "{host}") -> bytes:
    """Return a request's head."""
    first = [f"{method} {target} HTTP/{version}", *([] if host is None else [f"Host: {host}"]), *lines]
    return "\r\n".join([*first, "", ""]).encode("latin-1")


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """Return a chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + CRLF


NO_CHUNKS = frozenset({"http.server", "gunicorn", "uwsgi", "uvicorn"})
"""Servers whose echo supports only Content-Length, or does not show chunked bodies."""
BODY = b"The quick brown fox jumps over the lazy dog.\n"
LARGE = bytes(range(256)) * 4096

METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
    "QUERY",
    "PURGE",
    "LINK",
    "UNLINK",
    "BIND",
    "REBIND",
    "UNBIND",
    "ACL",
    "MERGE",
    "NOTIFY",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "M-SEARCH",
    "CHECKOUT",
    "MKACTIVITY",
    "MKCALENDAR",
    "SOURCE",
]

TARGETS = {
    "double-slash": "//a//b",
    "dot-segments": "/a/./b/../c",
    "up-and-out": "/../../etc/passwd",
    "encoded-dots": "/%2e%2e/%2E%2E/a",
    "encoded-slash": "/a%2Fb%2fc",
    "encoded-nul": "/a%00b",
    "bare-percent": "/100%",
    "bad-percent": "/%zz",
    "utf8-encoded": "/%C3%BCmlaut/%E2%82%AC",
    "params": "/a;b=1;c/d",
    "empty-query": "/a?",
    "two-questions": "/a?b?c",
    "query-only": "/?a=1&b=2&a=3",
    "query-odd": "/a?=&&=;x",
    "query-brackets": "/a?filter[x]=1&y[]=2",
    "query-url": "/a?next=http://example.org/a?b=c",
    "query-pipes": "/a?f=a|b^c`d{e}",
    "plus": "/a+b?c+d",
    "tilde": "/~user/",
    "colon": "/a:b/:8080",
    "at": "/@scope/package",
    "brackets": "/a[1]",
    "braces": "/a{b}",
    "pipe": "/a|b",
    "caret-backtick": "/a^b`c",
    "backslash": "/a\\b",
    "quote": '/a"b',
    "angle": "/<a>",
    "star": "/*",
    "comma": "/a,b,c",
    "exclamation": "/#!/".replace("#", "!"),
    "long-2k": "/" + "a" * 2000,
    "long-7k": "/?q=" + "b" * 7000,
    "api-path": "/_/api/v1/__internal__",
    "well-known": "/.well-known/acme-challenge/token",
    "dotfile": "/.env",
}

FIELDS = {
    "none-but-host": [],
    "browser": [
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0 Safari/537.36",
        'sec-ch-ua: "Chromium";v="156", "Not)A;Brand";v="24"',
        "sec-ch-ua-mobile: ?0",
        "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
        "Accept-Language: de-DE,de;q=0.9,en;q=0.8",
        "Accept-Encoding: gzip, deflate, br, zstd",
        "Sec-Fetch-Site: none",
        "Upgrade-Insecure-Requests: 1",
        "Priority: u=0, i",
        "DNT: 1",
    ],
    "cookies": ["Cookie: a=1; b=2", "Cookie: c=3"],
    "cookie-8k": ["Cookie: s=" + "x" * 7900],
    "basic": ["Authorization: Basic dXNlcjpwYXNz"],
    "bearer": ["Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.x"],
    "digest": ['Authorization: Digest username="u", realm="r", nonce="n", uri="/", response="0"'],
    "aws-signature": ["Authorization: AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host;x-amz-date, Signature=0f"],
    "duplicates": ["X-A: 1", "X-A: 2", "x-a: 3"],
    "case": ["x-lower: 1", "X-UPPER: 2", "X-mIxEd: 3"],
    "empty-value": ["X-Empty:", "X-Space:  "],
    "padded": ["X-Padded:    value   ", "X-Tab:\tvalue\t"],
    "inner-spaces": ["X-Inner: a  b\tc"],
    "odd-names": ["X-!#$%&'*+.^`|~: odd"],
    "digits-name": ["123: digits"],
    "underscore": ["api_key: secret", "X_Request_Id: 1"],
    "latin1": ["X-Name: J\xf6rg"],
    "utf8": ["X-Name: \xc3\xa4"],
    "quotes": ['X-Quoted: "a, \\"b\\""'],
    "long-value": ["X-Long: " + "v" * 6000],
    "many-90": [f"X-N-{number}: {number}" for number in range(90)],
    "many-150": [f"X-N-{number}: {number}" for number in range(150)],
    "range": ["Range: bytes=0-9,20-", 'If-Range: "tag"'],
    "conditional": ['If-None-Match: "a", W/"b"', "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT"],
    "if-match": ["If-Match: *", "If-Unmodified-Since: Tue, 14 Nov 2023 22:13:20 GMT"],
    "accept-many": ["Accept: a/b", "Accept: c/d;q=0.1"],
    "cors-preflight": ["Origin: https://app.example.org", "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-a"],
    "referer": ["Referer: http://example.org/a?b#c".replace("#c", "")],
    "date": ["Date: Tue, 14 Nov 2023 22:13:20 GMT"],
    "via": ["Via: 1.1 proxy.example.org", "Max-Forwards: 5"],
    "trace-context": ["traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate: a=b", "baggage: k=v"],
    "request-id": ["X-Request-ID: 7", "X-Correlation-ID: 8", "Idempotency-Key: 9"],
    "csrf": ["X-CSRF-Token: t", "X-XSRF-TOKEN: u", "X-Requested-With: XMLHttpRequest"],
    "webhook-github": ["X-GitHub-Event: push", "X-Hub-Signature-256: sha256=00", "X-GitHub-Delivery: 1"],
    "webhook-stripe": ["Stripe-Signature: t=1,v1=00"],
    "webhook-slack": ["X-Slack-Signature: v0=00", "X-Slack-Request-Timestamp: 1"],
    "method-override": ["X-HTTP-Method-Override: DELETE"],
    "save-data": ["Save-Data: on", "ECT: 4g", "Downlink: 10"],
    "early-data": ["Early-Data: 1"],
    "cache": ["Cache-Control: no-cache", "Pragma: no-cache"],
    "connection-close": ["Connection: close"],
    "connection-keep-alive": ["Connection: keep-alive", "Keep-Alive: timeout=5"],
    "connection-nominates": ["Connection: X-Hop, keep-alive", "X-Hop: 1", "X-End: 2"],
    "te-trailers": ["TE: trailers", "Connection: TE"],
    "proxy-connection": ["Proxy-Connection: keep-alive"],
    "proxy-authorization": ["Proxy-Authorization: Basic dXNlcjpwYXNz"],
    "proxy": ["Proxy: http://attacker.example"],
    "forwarded-for": ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example"],
    "forwarded": ["Forwarded: for=192.0.2.1;proto=https"],
    "real-ip": ["X-Real-IP: 192.0.2.1", "True-Client-IP: 192.0.2.1", "CF-Connecting-IP: 192.0.2.1"],
    "remote-user": ["Remote-User: root", "X-Remote-User: root", "X-Forwarded-User: root"],
    "h2c-upgrade": ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"],
    "accept-bytes": ["Accept-Charset: utf-8", "Accept-Datetime: Tue, 14 Nov 2023 22:13:20 GMT"],
    "content-on-get": ["Content-Type: application/json"],
    "grpc-web": ["Content-Type: application/grpc-web+proto", "X-Grpc-Web: 1", "grpc-timeout: 1S"],
    "s3": ["x-amz-content-sha256: UNSIGNED-PAYLOAD", "x-amz-date: 20231114T221320Z", "x-amz-meta-a: b"],
    "webdav": ["Depth: 1", "Overwrite: F", "Destination: http://{host}/b", "Timeout: Second-60"],
    "ms": ["X-MS-Client-Request-Id: 1", "MS-Author-Via: DAV", "Translate: f"],
    "client-hints": ['Sec-CH-UA-Platform: "Linux"', "Viewport-Width: 800", "Width: 800"],
    "negotiate-48k": ["Authorization: Bearer " + "A" * 48_000],
}

FRAMING: dict[str, tuple[str, list[Step]]] = {
    "length-0": ("POST", [head("POST", "/", "Content-Length: 0")]),
    "no-length-post": ("POST", [head("POST", "/")]),
    "length-1": ("POST", [head("POST", "/", "Content-Length: 1") + b"x"]),
    "length-leading-zeros": ("POST", [head("POST", "/", "Content-Length: 0005") + b"hello"]),
    "form": ("POST", [head("POST", "/", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 7") + b"a=1&b=2"]),
    "large": ("POST", [head("POST", "/", f"Content-Length: {len(LARGE)}") + LARGE]),
    "put": ("PUT", [head("PUT", "/f", f"Content-Length: {len(BODY)}") + BODY]),
    "patch": ("PATCH", [head("PATCH", "/f", f"Content-Length: {len(BODY)}") + BODY]),
    "get-with-body": ("GET", [head("GET", "/", f"Content-Length: {len(BODY)}") + BODY]),
    "delete-with-body": ("DELETE", [head("DELETE", "/f", f"Content-Length: {len(BODY)}") + BODY]),
    "options-with-body": ("OPTIONS", [head("OPTIONS", "/f", f"Content-Length: {len(BODY)}") + BODY]),
    "body-apart": ("POST", [head("POST", "/", f"Content-Length: {len(BODY)}"), 0.05, BODY]),
    "body-in-drips": ("POST", [head("POST", "/", "Content-Length: 6"), *[step for byte in b"abcdef" for step in (bytes((byte,)), 0.01)]]),
    "head-in-two": ("GET", [head()[:9], 0.03, head()[9:]]),
    "head-cut-in-crlf": ("GET", [head()[:-3], 0.03, head()[-3:]]),
    "head-in-drips": ("GET", [Drip(head("GET", "/d"))]),
    "leading-crlf": ("GET", [CRLF + head("GET", "/l")]),
    "gzip-body": ("POST", [head("POST", "/", "Content-Encoding: gzip", "Content-Length: 10") + b"\x1f\x8b0123456\x00"]),
    "multipart": (
        "POST",
        [
            head("POST", "/", "Content-Type: multipart/form-data; boundary=b", "Content-Length: 58")
            + b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--'[:58].ljust(58)
        ],
    ),
    "nul-bytes": ("POST", [head("POST", "/", "Content-Length: 4") + b"\0\0\0\0"]),
    "body-like-a-request": ("POST", [head("POST", "/", "Content-Length: 18") + b"GET / HTTP/1.1\r\n\r\n"]),
    "expect-continue": ("POST", [head("POST", "/", "Expect: 100-continue", f"Content-Length: {len(BODY)}"), "await-interim", BODY]),
    "expect-unawaited": ("POST", [head("POST", "/", "Expect: 100-continue", f"Content-Length: {len(BODY)}") + BODY]),
    "expect-case": ("POST", [head("POST", "/", "Expect: 100-Continue", f"Content-Length: {len(BODY)}"), "await-interim", BODY]),
    "half-close": ("GET", [head("GET", "/h", "Connection: close"), "half-close"]),
    "half-close-late": ("POST", [head("POST", "/h", "Content-Length: 5"), 0.02, b"hello", "half-close"]),
    "http-1.0": ("GET", [head("GET", "/", version="1.0")]),
    "http-1.0-keep-alive": ("GET", [head("GET", "/", "Connection: keep-alive", version="1.0")]),
    "http-1.0-post": ("POST", [head("POST", "/", "Content-Length: 2", version="1.0") + b"hi"]),
    "host-upper-case": ("GET", [head(host="{HOST}")]),
    "host-with-dot": ("GET", [head(host="{name}.:{port}")]),
    "host-padded": ("GET", [head(host="  {host}  ")]),
    "absolute-form": ("GET", [head("GET", "http://{host}/abs?x=1")]),
    "absolute-form-bare": ("GET", [head("GET", "http://{host}")]),
    "absolute-form-query": ("GET", [head("GET", "http://{host}?x")]),
    "absolute-other-host": ("GET", [head("GET", "http://{host}/abs", host="other.example")]),
    "absolute-1.0-no-host": ("GET", [head("GET", "http://{host}/abs", host=None, version="1.0")]),
    "options-star": ("OPTIONS", [head("OPTIONS", "*")]),
}

CHUNKED: dict[str, tuple[str, list[Step]]] = {
    "one": ("POST", [head("POST", "/", "Transfer-Encoding: chunked") + chunked(BODY)]),
    "empty": ("POST", [head("POST", "/", "Transfer-Encoding: chunked") + chunked()]),
    "many": ("POST", [head("POST", "/", "Transfer-Encoding: chunked") + chunked(*[b"x" * (number + 1) for number in range(60)])]),
    "large": ("POST", [head("POST", "/", "Transfer-Encoding: chunked") + chunked(LARGE, LARGE)]),
    "case": ("POST", [head("POST", "/", "Transfer-Encoding: Chunked") + chunked(BODY)]),
    "upper-hex": ("POST", [head("POST", "/", "Transfer-Encoding: chunked") + b"1A\r\n" + b"y" * 26 + b"\r\n0\r\n\r\n"]),
    "zero-padded": ("POST", [head("POST", "/", "Transfer-Encoding: chunked") + b"0005\r\nhello\r\n000\r\n\r\n"]),
    "extension": ("POST", [head("POST", "/", "Transfer-Encoding: chunked") + b"5;a=b\r\nhello\r\n0\r\n\r\n"]),
    "apart": ("POST", [head("POST", "/", "Transfer-Encoding: chunked"), 0.02, b"5\r\nhel", 0.02, b"lo\r\n0\r\n", 0.02, b"\r\n"]),
    "put": ("PUT", [head("PUT", "/f", "Transfer-Encoding: chunked") + chunked(BODY)]),
    "delete": ("DELETE", [head("DELETE", "/f", "Transfer-Encoding: chunked") + chunked(BODY)]),
    "trailers": (
        "POST",
        [head("POST", "/", "Transfer-Encoding: chunked", "Trailer: X-Checksum") + chunked(BODY, trailers=b"X-Checksum: abc\r\n")],
    ),
    "expect": ("POST", [head("POST", "/", "Transfer-Encoding: chunked", "Expect: 100-continue"), "await-interim", chunked(BODY)]),
}

PIPELINES: dict[str, tuple[int, bytes]] = {
    "two-gets": (2, head("GET", "/1") + head("GET", "/2")),
    "five-gets": (5, b"".join(head("GET", f"/{number}") for number in range(5))),
    "post-then-get": (2, head("POST", "/1", "Content-Length: 5") + b"hello" + head("GET", "/2")),
    "two-posts": (2, (head("POST", "/1", "Content-Length: 2") + b"hi") * 2),
    "close-at-the-end": (2, head("GET", "/1") + head("GET", "/2", "Connection: close")),
}


NO_CONTINUE = frozenset({"uwsgi"})
"""Servers that do not respond to `Expect: 100-continue` before the body."""


def all_requests() -> list[Request]:
    """Return all requests; their names are unique."""
    listed = [Request(f"method-{method}", (head(method, "/m"),), method) for method in METHODS]
    listed += [Request(f"target-{name}", (head("GET", target),)) for name, target in TARGETS.items()]
    listed += [Request(f"fields-{name}", (head("GET", "/f", *lines),)) for name, lines in FIELDS.items()]
    for name, (method, steps) in FRAMING.items():
        skip = NO_CONTINUE if "await-interim" in steps else frozenset()
        listed.append(Request(f"framing-{name}", tuple(steps), method, skip=skip))
    listed += [Request(f"chunked-{name}", tuple(steps), method, skip=NO_CHUNKS) for name, (method, steps) in CHUNKED.items()]
    listed += [Request(f"pipeline-{name}", (data,), responses=count) for name, (count, data) in PIPELINES.items()]
    return listed
