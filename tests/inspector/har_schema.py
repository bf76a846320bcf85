"""HAR 1.2 as types, written by the specification: fields that it does not make optional are required."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

Size = Annotated[int, Meta(ge=-1)]
Time = Annotated[float, Meta(ge=0)]
Phase = Annotated[float, Meta(ge=-1)]


class Pair(Struct, forbid_unknown_fields=True):
    name: str
    value: str
    comment: str = ""


class Cookie(Pair):
    path: str = ""
    domain: str = ""
    expires: str = ""
    httpOnly: bool = False  # noqa: N815 - a name of the specification
    secure: bool = False


class PostData(Struct, forbid_unknown_fields=True):
    mimeType: str  # noqa: N815
    params: list[Pair]
    text: str
    comment: str = ""


class Request(Struct, forbid_unknown_fields=True):
    method: Annotated[str, Meta(min_length=1)]
    url: Annotated[str, Meta(pattern="^https?://")]
    httpVersion: str  # noqa: N815
    cookies: list[Cookie]
    headers: list[Pair]
    queryString: list[Pair]  # noqa: N815
    headersSize: Size  # noqa: N815
    bodySize: Size  # noqa: N815
    postData: PostData | None = None  # noqa: N815
    comment: str = ""


class Content(Struct, forbid_unknown_fields=True):
    size: int
    mimeType: str  # noqa: N815
    compression: int = 0
    text: str = ""
    encoding: Literal["", "base64"] = ""
    comment: str = ""


class Response(Struct, forbid_unknown_fields=True):
    status: int
    statusText: str  # noqa: N815
    httpVersion: str  # noqa: N815
    cookies: list[Cookie]
    headers: list[Pair]
    content: Content
    redirectURL: str  # noqa: N815
    headersSize: Size  # noqa: N815
    bodySize: Size  # noqa: N815
    comment: str = ""


class Timings(Struct, forbid_unknown_fields=True):
    send: Time
    wait: Time
    receive: Time
    blocked: Phase = -1
    dns: Phase = -1
    connect: Phase = -1
    ssl: Phase = -1
    comment: str = ""


class Entry(Struct, forbid_unknown_fields=True):
    startedDateTime: datetime  # noqa: N815
    time: Time
    request: Request
    response: Response
    cache: dict[str, object]
    timings: Timings
    comment: str = ""


class Creator(Struct, forbid_unknown_fields=True):
    name: str
    version: str
    comment: str = ""


class Log(Struct, forbid_unknown_fields=True):
    version: Literal["1.2"]
    creator: Creator
    entries: list[Entry]
    comment: str = ""


class Har(Struct, forbid_unknown_fields=True):
    log: Log
