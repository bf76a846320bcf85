"""One server and one agent for each origin, shared by all cases of a worker."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from tests.e2e.stack import Stack
from tests.transparency.raw_origin import RawOrigin
from tests.transparency.responses import all_replies
from tests.transparency.servers import ECHOING, STATIC


@dataclass(frozen=True)
class Path:
    """One origin, and both ways to it."""

    direct: tuple[str, int]
    through: tuple[str, int]
    host: str
    """The Host value that both get: the tunnel's."""


Paths = Callable[[str], Path]


@contextmanager
def raw() -> Iterator[int]:
    """Run the scripted origin; yield its port."""
    with RawOrigin({reply.name: reply.script for reply in all_replies()}) as origin:
        yield origin.port


@pytest.fixture(scope="session")
def paths() -> Iterator[Paths]:
    """Return the two ways to an origin by its name; the origin is started when first asked for."""
    known: dict[str, Path | str] = {}
    makers = {name: contextmanager(maker) for name, maker in {**ECHOING, **STATIC}.items()}
    with ExitStack() as running:
        stack = running.enter_context(Stack(plaintext=False))

        def path(name: str) -> Path:
            if name not in known:
                try:
                    port = running.enter_context(raw() if name == "raw" else makers[name]())
                    tunnel = stack.tunnel("http", port)
                    known[name] = Path(("127.0.0.1", port), ("127.0.0.1", tunnel.port), f"{tunnel.host}:{tunnel.port}")
                except pytest.skip.Exception as missing:
                    known[name] = str(missing)
            found = known[name]
            if isinstance(found, str):
                pytest.skip(found)
            return found

        yield path
        stack.healthy()
