"""The first route that matches a target is used; without one, the connection is direct."""

from portway.forward.connect.via import read_routes
from tests.forward.connect.test_upstream import connect
from tests.forward.stage import Stage
from tests.kit.origins import RawOrigin
from tests.kit.sockets import free_port


def test_patterns_decide_by_what_the_client_asked_for() -> None:
    dead = free_port()
    routes = f"here.test=direct\n127.0.0.0/8=direct\n*.test=http://127.0.0.1:{dead}"
    with RawOrigin(lambda visitor: visitor.sendall(b"hello echo")) as origin, Stage(via=read_routes(routes)) as stage:
        assert connect(stage, f"here.test:{origin.port}")[1] == b"hello echo"
        assert connect(stage, f"127.0.0.1:{origin.port}")[1] == b"hello echo"
        assert f"the proxy http://127.0.0.1:{dead}".encode() in connect(stage, f"many.test:{origin.port}")[1]


def test_a_target_that_no_route_matches_is_reached_directly() -> None:
    routes = read_routes(f"*:22=http://127.0.0.1:{free_port()}")
    with RawOrigin(lambda visitor: visitor.sendall(b"hello echo")) as origin, Stage(via=routes) as stage:
        assert connect(stage, f"here.test:{origin.port}")[1] == b"hello echo"
