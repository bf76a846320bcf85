"""Options of the inspector, and where it is on without them."""

from pathlib import Path
from typing import Any

import pytest

from portway.agent.settings import TunnelRequest
from portway.agent.target import Target
from portway.cli.inspector_options import InspectorOptions, read_inspector
from portway.cli.tunnel_file import load_tunnel_file
from portway.config.values import ListenAddress
from portway.errors import ConfigError
from portway.inspector.settings import InspectorSettings

HTTP, TCP = (TunnelRequest(kind=kind, target=Target("a", 1)) for kind in ("http", "tcp"))


def read(*tunnels: TunnelRequest, on_terminal: bool = True, **changes: Any) -> InspectorSettings | None:
    options: InspectorOptions = {
        "inspect": None, "no_inspect": False, "inspect_open": False, "capture_max": None, "capture_bodies": None, "redact": (), "no_redact": False,
    }  # fmt: skip
    options.update(changes)  # type: ignore[typeddict-item]
    return read_inspector(options, tunnels, Path("/data"), on_terminal=on_terminal)


def test_it_is_on_for_http_on_a_terminal() -> None:
    assert read(HTTP) is not None
    assert read(TCP, HTTP) is not None
    assert read(TCP) is None
    assert read(HTTP, on_terminal=False) is None
    assert read(HTTP, no_inspect=True) is None
    assert read(HTTP, inspect="off") is None


def test_an_address_turns_it_on_anywhere() -> None:
    found = read(TCP, on_terminal=False, inspect="4041", capture_max="10MiB", capture_bodies="1kb", redact=("x-a",), no_redact=True)

    assert found is not None
    assert (found.listen, found.capture_bytes_max, found.body_bytes_max) == (ListenAddress("127.0.0.1", 4041), 10 * 1024**2, 1000)
    assert (found.redact, found.redacts, found.data_dir) == (("x-a",), False, Path("/data"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"inspect": "nowhere"}, "--inspect: expected an address .*, or off"),
        ({"inspect": "0.0.0.0:4040"}, "--inspect: .* reachable from other machines"),
        ({"inspect": "4040", "no_inspect": True}, "--no-inspect: cannot be combined"),
        ({"capture_max": "much"}, "--capture-max: invalid size"),
        ({"capture_bodies": "1gb"}, "--capture-bodies: expected at most"),
        ({"redact": ("*",)}, "--redact: invalid name"),
    ],
)
def test_invalid_options(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        read(HTTP, **changes)


def test_a_file_excludes_tunnels_and_turns_it_off(tmp_path: Path) -> None:
    path = tmp_path / "portway.toml"
    path.write_text(
        '[agent]\ninspect = false\nredact = ["x-a"]\n[defaults]\ninspect = false\n[tunnels.a]\ntarget = "1"\n[tunnels.b]\ntarget = "2"\ninspect = true\n'
    )
    file = load_tunnel_file(path)

    assert (file.session["inspect"], file.session["redact"]) == (False, ["x-a"])
    assert {label: tunnel.inspect for label, tunnel in file.tunnels.items()} == {"a": False, "b": True}
    path.write_text('[tunnels.a]\ntarget = "1"\ninspect = "yes"\n')
    with pytest.raises(ConfigError, match=r"toml:3: tunnels.a.inspect: expected true or false, got 'yes'"):
        load_tunnel_file(path)
