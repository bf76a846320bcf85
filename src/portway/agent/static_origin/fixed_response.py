"""One response for every request, such as a maintenance page."""

from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

NO_BODY = (204, 205, 304)


class FixedResponse:
    """The ASGI application that responds to every request with the same status and body."""

    def __init__(self, status: int, body: str) -> None:
        """Respond with `status` and `body`; an empty body is the status as text."""
        self._status = status
        text = "" if status in NO_BODY else body or f"{status} {_phrase(status)}\n"
        self._body = text.encode()
        self._type = "text/html; charset=utf-8" if text.lstrip().startswith("<") else "text/plain; charset=utf-8"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, whose body is ignored."""
        headers = {} if self._status in NO_BODY else {"Content-Type": self._type}
        await Response(self._body, self._status, headers)(scope, receive, send)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
