"""Listening sockets, and words for those that cannot be opened."""

import os
import socket
from pathlib import Path

import pytest

from portway.config.values import ListenAddress
from portway.errors import ConfigError, UnavailableError
from portway.server.listen_sockets import listen_for_setting, listen_on


def test_an_empty_host_is_every_interface_on_both_protocols() -> None:
    with listen_on(ListenAddress("", 0)) as sock:
        port = sock.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=5).close()


def test_every_interface_is_both_protocols_or_none() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6) as other:  # for IPv6 alone: IPv4 would still be free
        taken = ListenAddress("", other.getsockname()[1])
        with pytest.raises(UnavailableError, match="in use"):
            listen_for_setting(taken, "http")
    with listen_on(ListenAddress("", 0)) as sock:
        assert not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_a_port_that_needs_a_privilege_is_told_as_such() -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text("ascii")) < 1024:
        pytest.skip("every port is free for all here")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:  # in a process of its own, for who once gave up being root cannot take it back
        try:
            if not os.geteuid():
                os.setuid(65534)
            listen_for_setting(ListenAddress("127.0.0.1", 1023), "http")
        except ConfigError as exc:
            os.write(writing, str(exc).encode())
        finally:
            os._exit(0)
    os.close(writing)
    said = os.read(reading, 1000).decode()
    os.close(reading)
    os.waitpid(child, 0)
    assert said == "http: cannot listen on 127.0.0.1:1023: permission denied; ports below 1024 need a privilege"


def test_a_port_in_use_is_told_with_the_flag_that_changes_it() -> None:
    with listen_on(ListenAddress("127.0.0.1", 0)) as sock:
        taken = ListenAddress("127.0.0.1", sock.getsockname()[1])
        with pytest.raises(UnavailableError, match=r"http: 127\.0\.0\.1:\d+ is in use .* --http"):
            listen_for_setting(taken, "http")


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_a_wrong_setting(host: str) -> None:
    with pytest.raises(ConfigError, match=f"agents: cannot listen on {host}:4443"):
        listen_for_setting(ListenAddress(host, 4443), "agents")
