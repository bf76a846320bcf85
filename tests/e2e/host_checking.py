"""A site behind Starlette's own check of the Host field, as development servers have one."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route


async def seen(request: Request) -> Response:
    """Show the fields of the request."""
    response = JSONResponse({"url": str(request.url), **dict(request.headers)}, headers={"X-Powered-By": "starlette"})
    response.set_cookie("wide", "1", domain="localhost")
    return response


async def moved(request: Request) -> Response:
    """Redirect to an absolute URL of this site, built from the request's host."""
    return RedirectResponse(str(request.url_for("seen")))


app = Starlette(
    routes=[Route("/", seen, name="seen", methods=["GET", "POST"]), Route("/moved", moved)],
    middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["localhost"])],
)
