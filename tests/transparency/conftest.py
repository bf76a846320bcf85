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
    """One origin, with its direct and its public address."""

    direct: tuple[str, int]
    through: tuple[str, int]
    host: str
    """Host value of both requests: that of the tunnel."""


Paths = Callable[[str], Path]


@contextmanager
def raw() -> Iterator[int]:
    """Run the scripted origin; yield its port."""
    with RawOrigin({reply.name: reply.script for reply in all_replies()}) as origin:
        yield origin.port


@pytest.fixture(scope="session")
def paths() -> Iterator[Paths]:
    """Return a function that returns both addresses of an origin by name, and starts it when first used."""
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
