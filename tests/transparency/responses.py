"""The responses of the raw origin: what servers send, what is unusual but has one meaning, and what breaks."""

from dataclasses import dataclass

from tests.transparency.raw_origin import Script

TEXT = b"The quick brown fox jumps over the lazy dog.\n"
LARGE = bytes(range(256)) * 4096


@dataclass(frozen=True)
class Reply:
    """One scripted response, and the method of its request."""

    name: str
    script: Script
    method: str = "GET"
    body: bytes = b""
    responses: int = 1


def final(status: str = "200 OK", *lines: str, body: bytes | None = TEXT, length: bool = True, version: str = "1.1") -> bytes:
    """Return a response, with Content-Length if `length`."""
    said = [f"Content-Length: {len(body or b'')}"] if length and body is not None else []
    return "\r\n".join([f"HTTP/{version} {status}", *lines, *said, "", ""]).encode("latin-1") + (body or b"")


def chunks(*pieces: bytes, trailers: bytes = b"", end: bool = True) -> bytes:
    """Return a chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + (b"0\r\n" + trailers + b"\r\n" if end else b"")


STATUSES = [
    "200 OK",
    "201 Created",
    "202 Accepted",
    "203 Non-Authoritative Information",
    "206 Partial Content",
    "207 Multi-Status",
    "208 Already Reported",
    "226 IM Used",
    "300 Multiple Choices",
    "301 Moved Permanently",
    "302 Found",
    "303 See Other",
    "305 Use Proxy",
    "307 Temporary Redirect",
    "308 Permanent Redirect",
    "400 Bad Request",
    "401 Unauthorized",
    "402 Payment Required",
    "403 Forbidden",
    "404 Not Found",
    "405 Method Not Allowed",
    "406 Not Acceptable",
    "407 Proxy Authentication Required",
    "408 Request Timeout",
    "409 Conflict",
    "410 Gone",
    "411 Length Required",
    "412 Precondition Failed",
    "413 Content Too Large",
    "414 URI Too Long",
    "415 Unsupported Media Type",
    "416 Range Not Satisfiable",
    "417 Expectation Failed",
    "418 I'm a teapot",
    "421 Misdirected Request",
    "422 Unprocessable Content",
    "423 Locked",
    "425 Too Early",
    "426 Upgrade Required",
    "428 Precondition Required",
    "429 Too Many Requests",
    "431 Request Header Fields Too Large",
    "451 Unavailable For Legal Reasons",
    "499 Client Closed",
    "500 Internal Server Error",
    "501 Not Implemented",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "504 Gateway Timeout",
    "507 Insufficient Storage",
    "511 Network Authentication Required",
    "520 Unknown",
    "599 Custom",
]

FIELDS = {
    "none": [],
    "server-date": ["Server: nginx/1.22", "Date: Tue, 14 Nov 2023 22:13:20 GMT"],
    "set-cookies": ["Set-Cookie: a=1; Path=/; HttpOnly", "Set-Cookie: b=2; Secure; SameSite=None", "Set-Cookie: c=3, d"],
    "set-cookies-120": [f"Set-Cookie: c{number}={number}" for number in range(120)],
    "large-head-40k": ["X-Large: " + "x" * 40_000],
    "content-security-policy-8k": ["Content-Security-Policy: " + "default-src 'self'; " * 400],
    "duplicates": ["X-A: 1", "X-a: 2", "X-A: 3"],
    "vary": ["Vary: Accept-Encoding", "Vary: Origin"],
    "link": ["Link: </a>; rel=preload, </b>; rel=next", "Link: </c>; rel=prev"],
    "www-authenticate": ['WWW-Authenticate: Basic realm="a, b"', "WWW-Authenticate: Bearer"],
    "proxy-authenticate": ['Proxy-Authenticate: Basic realm="p"'],
    "cors": ["Access-Control-Allow-Origin: *", "Access-Control-Expose-Headers: X-A, X-B"],
    "caching": ['ETag: W/"a"', "Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT", "Cache-Control: max-age=0", "Expires: 0", "Age: 3"],
    "disposition": ["Content-Disposition: attachment; filename*=UTF-8''%e2%82%ac.txt"],
    "latin1": ["X-Name: J\xf6rg"],
    "utf8": ["X-Name: \xc3\xa4"],
    "empty-value": ["X-Empty:"],
    "underscore": ["x_request_id: 7"],
    "odd-name": ["X-!#$%&'*+.^`|~: odd"],
    "lower-case": ["content-type: text/plain", 'etag: "a"'],
    "hsts": ["Strict-Transport-Security: max-age=1", 'Alt-Svc: h3=":443"', 'Clear-Site-Data: "cache"'],
    "accel": ["X-Accel-Buffering: no", "X-Accel-Redirect: /internal", "X-Sendfile: /etc/passwd"],
    "via": ["Via: 1.1 origin", "X-Cache: HIT", "X-Served-By: a"],
    "connection-nominates": ["Connection: X-Hop", "X-Hop: 1", "X-End: 2"],
    "keep-alive": ["Connection: keep-alive", "Keep-Alive: timeout=5, max=100"],
    "close": ["Connection: close"],
    "upgrade-offer": ["Upgrade: h2,h2c", "Connection: Upgrade"],
    "content-encoding": ["Content-Encoding: gzip", "Content-Type: text/plain"],
    "location-absolute": ["Location: http://127.0.0.1:1/elsewhere"],
    "server-timing": ["Server-Timing: db;dur=1", "Timing-Allow-Origin: *", "NEL: {}", "Report-To: {}"],
    "digest": ["Repr-Digest: sha-256=:AA==:", "Content-MD5: AA==", "Want-Repr-Digest: sha-256=1"],
    "portway-error": ["Portway-Error: unknown_host"],
}

CHUNKED = ("Transfer-Encoding: chunked",)


def framings() -> dict[str, Script]:
    """Return bodies in every unambiguous framing."""
    head = final("200 OK", *CHUNKED, body=None)
    until_end = final("200 OK", body=None, length=False)
    return {
        "length-0": [final(body=b"")],
        "length-large": [final(body=LARGE)],
        "length-apart": [final()[:-10], 0.03, final()[-10:]],
        "length-drips": [final(body=None).replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n"), b"a", 0.02, b"b", 0.02, b"c"],
        "head-drips": [step for byte in final("200 OK", "X-A: 1") for step in (bytes((byte,)), 0.001)],
        "chunked-one": [head + chunks(TEXT)],
        "chunked-empty": [head + chunks()],
        "chunked-many": [head + chunks(*[b"y" * number for number in range(1, 80)])],
        "chunked-large": [head + chunks(LARGE, LARGE)],
        "chunked-apart": [head, 0.02, b"5\r\nhel", 0.02, b"lo\r\n", 0.02, b"0\r\n", 0.02, b"\r\n"],
        "chunked-tiny": [head + chunks(*[b"z"] * 2000)],
        "chunked-extension": [head + b"5;name=value\r\nhello\r\n0;last\r\n\r\n"],
        "chunked-upper-hex": [head + b"1A\r\n" + b"q" * 26 + b"\r\n00\r\n\r\n"],
        "chunked-trailers": [
            final("200 OK", *CHUNKED, "Trailer: X-Checksum, Server-Timing", body=None)
            + chunks(TEXT, trailers=b"X-Checksum: abc\r\nServer-Timing: db;dur=53\r\n")
        ],
        "chunked-trailers-unannounced": [head + chunks(TEXT, trailers=b"X-Checksum: abc\r\n")],
        "chunked-close": [final("200 OK", *CHUNKED, "Connection: close", body=None) + chunks(TEXT), "close"],
        "chunked-closed-without-saying": [head + chunks(TEXT), "close"],
        "length-closed-without-saying": [final(), "close"],
        "length-close": [final("200 OK", "Connection: close"), "close"],
        "until-end": [until_end + TEXT, "close"],
        "until-end-large": [until_end + LARGE, "close"],
        "until-end-empty": [until_end, "close"],
        "until-end-slow": [until_end, 0.05, TEXT, 0.05, TEXT, "close"],
        "http-1.0-until-end": [final(version="1.0", length=False), "close"],
        "http-1.0-length": [final(version="1.0"), "close"],
        "http-1.0-keep-alive": [final("200 OK", "Connection: keep-alive", version="1.0")],
        "no-content": [final("204 No Content", body=None)],
        "no-content-with-length": [final("204 No Content", "Content-Length: 0", body=None)],
        "reset-content": [final("205 Reset Content", body=b"")],
        "not-modified": [final("304 Not Modified", 'ETag: "a"', body=None)],
        "not-modified-with-length": [final("304 Not Modified", "Content-Length: 5000", body=None)],
        "reason-empty": [final("200 ")],
        "reason-missing": [b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"],
        "reason-long": [final("200 " + "Very " * 60 + "OK")],
        "reason-latin1": [final("200 Gr\xfc\xdf dich")],
        "event-stream": [
            final("200 OK", "Content-Type: text/event-stream", *CHUNKED, body=None),
            *[step for number in range(5) for step in (chunks(b"data: %d\n\n" % number, end=False), 0.02)],
            chunks(),
        ],
    }


INTERIMS: dict[str, Script] = {
    "continue-unasked": [b"HTTP/1.1 100 Continue\r\n\r\n", final()],
    "processing": [b"HTTP/1.1 102 Processing\r\n\r\n", final()],
    "hints": [b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n", final()],
    "hints-apart": [b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n", 0.03, final()],
    "hints-nine": [b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" * 9, final()],
    "upload-resumption": [b"HTTP/1.1 104 Upload Resumption Supported\r\nLocation: /u/1\r\n\r\n", final("201 Created")],
    "unknown-199": [b"HTTP/1.1 199 Whatever\r\nX-A: 1\r\n\r\n", final()],
}

BREAKS: dict[str, Script] = {
    "length-cut-by-end": [final(body=None).replace(b"\r\n\r\n", b"\r\nContent-Length: 100\r\n\r\n") + b"half", 0.05, "close"],
    "length-cut-by-reset": [final(body=None).replace(b"\r\n\r\n", b"\r\nContent-Length: 100\r\n\r\n") + b"half", 0.05, "reset"],
    "chunked-cut-by-end": [final("200 OK", *CHUNKED, body=None) + chunks(TEXT, end=False), 0.05, "close"],
    "chunked-cut-in-chunk": [final("200 OK", *CHUNKED, body=None) + b"ff\r\nhalf", 0.05, "close"],
    "chunked-cut-by-reset": [final("200 OK", *CHUNKED, body=None) + chunks(TEXT, end=False), 0.05, "reset"],
    "until-end-cut-by-reset": [final(length=False), 0.05, "reset"],
    "head-cut-by-end": [b"HTTP/1.1 200 OK\r\nContent-Le", "close"],
    "closed-without-a-word": ["close"],
    "reset-without-a-word": ["reset"],
}

EARLY: dict[str, Script] = {
    "413-close-unread": [final("413 Content Too Large", "Connection: close"), 0.2, "close"],
    "401-then-drained": [final("401 Unauthorized", "WWW-Authenticate: Basic"), "body"],
    "200-before-the-body": [final(), "body"],
    "200-after-the-body": ["body", final()],
    "400-close-at-once": [final("400 Bad Request", "Connection: close"), "close"],
}


def all_replies() -> list[Reply]:
    """Return all scripted responses; their names are unique."""
    listed = [Reply(f"answer-status-{status.partition(' ')[0]}", [final(status)]) for status in STATUSES]
    listed += [Reply(f"answer-fields-{name}", [final("200 OK", *lines)]) for name, lines in FIELDS.items()]
    listed += [Reply(f"answer-framing-{name}", script) for name, script in framings().items()]
    listed += [Reply(f"answer-interim-{name}", script) for name, script in INTERIMS.items()]
    listed += [Reply(f"answer-break-{name}", script) for name, script in BREAKS.items()]
    listed += [Reply(f"answer-early-{name}", script, "POST", TEXT) for name, script in EARLY.items()]
    listed += [
        Reply(f"answer-early-large-{name}", script, "POST", LARGE * 3) for name, script in EARLY.items() if name != "400-close-at-once"
    ]
    listed += [
        Reply("answer-head-length", [final("200 OK", "Content-Length: 500", body=None)], "HEAD"),
        Reply("answer-head-chunked", [final("200 OK", *CHUNKED, body=None)], "HEAD"),
        Reply("answer-head-bare", [final("200 OK", body=None)], "HEAD"),
        Reply("answer-head-404", [final("404 Not Found", "Content-Length: 9", body=None)], "HEAD"),
        Reply("answer-options-empty", [final("200 OK", "Allow: GET, POST", body=b"")], "OPTIONS"),
        Reply("answer-delete-204", [final("204 No Content", body=None)], "DELETE"),
    ]
    return listed
