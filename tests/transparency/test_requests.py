import pytest

from tests.transparency.client import Outcome, Step, talk
from tests.transparency.compare import differences
from tests.transparency.conftest import Path, Paths
from tests.transparency.documented import undocumented
from tests.transparency.requests import Request, all_requests
from tests.transparency.servers import ECHOING

CASES = [(server, request) for server in ECHOING for request in all_requests() if server not in request.skip]


@pytest.mark.parametrize(("server", "request_"), CASES, ids=[f"{server}-{request.name}" for server, request in CASES])
def test_a_request_arrives_as_it_does_directly(server: str, request_: Request, paths: Paths) -> None:
    path = paths(server)
    direct = _outcome(path.direct, path, request_)
    through = _outcome(path.through, path, request_)

    found = differences(direct, through)

    assert undocumented(request_.name, found) == [], (direct, through)


def _outcome(address: tuple[str, int], path: Path, request: Request) -> Outcome:
    steps: list[Step] = [_filled(step, path.host) if isinstance(step, bytes) else step for step in request.steps]
    return talk(address, steps, method=request.method, responses=request.responses, host=path.host)


def _filled(data: bytes, host: str) -> bytes:
    name, _, port = host.partition(":")
    for mark, text in (("{host}", host), ("{HOST}", host.upper()), ("{name}", name), ("{port}", port)):
        data = type(data)(data.replace(mark.encode(), text.encode()))
    return data
