"""What is captured of a stream, by tunnel: `portway.agent.capture`, `portway.agent.inspection` and `portway.agent.replaying` are tested
with a whole agent in tests/inspector/test_service.py."""

import portway.agent.inspection
import portway.agent.replaying
from portway.agent.capture import open_tap, tunnel_info
from portway.agent.settings import TunnelRequest
from portway.agent.target import Target
from portway.inspector.recorder import Recorder
from portway.protocol.control.messages import Granted
from portway.session.claims import TunnelClaim

GRANTED = Granted(id=1, tunnel=7, epoch=1, url="http://shop.test", name="shop")


def claim(kind: str = "http", label: str = "", *, inspect: bool = True) -> TunnelClaim[TunnelRequest]:
    request = TunnelRequest(kind=kind, target=Target("a", 80), label=label, inspect=inspect)  # type: ignore[arg-type]
    return TunnelClaim(kind, request, granted=GRANTED)  # type: ignore[arg-type]


def test_only_http_tunnels_that_are_inspected_have_a_tap() -> None:
    recorder = Recorder(lambda _: None, 1000)

    assert open_tap(None, claim(), 0.0) is None
    assert open_tap(recorder, claim("tcp"), 0.0) is None
    assert open_tap(recorder, claim(inspect=False), 0.0) is None
    assert open_tap(recorder, claim(), 0.0) is not None
    recorder.close()


def test_a_tunnel_is_named_by_its_label_or_its_address() -> None:
    assert tunnel_info(claim()) == ("shop", "http://shop.test", "a:80", "http")
    assert tunnel_info(claim(label="blog")).name == "blog"
    assert portway.agent.replaying.REPLAY_S_MAX > 0
    assert portway.agent.inspection.Inspection.replay.__doc__
