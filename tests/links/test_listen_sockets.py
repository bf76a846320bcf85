"""Listening sockets, and errors for those that cannot be opened."""

import os
import socket
from pathlib import Path

import pytest

from portway.config.values import ListenAddress
from portway.errors import ConfigError, UnavailableError
from portway.links.listen_sockets import listen_for_setting, listen_on


def test_an_empty_host_listens_on_every_interface_with_ipv4_and_ipv6() -> None:
    with listen_on(ListenAddress("", 0)) as sock:
        port = sock.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=5).close()


def test_an_empty_host_needs_both_ipv4_and_ipv6() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6) as other:  # IPv6 only: the port is still free for IPv4
        taken = ListenAddress("", other.getsockname()[1])
        with pytest.raises(UnavailableError, match="in use"):
            listen_for_setting(taken, "http")
    with listen_on(ListenAddress("", 0)) as sock:
        assert not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_a_privileged_port_is_explained() -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text("ascii")) < 1024:
        pytest.skip("unprivileged users may use every port here")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:  # in a process of its own, because setuid cannot be undone
        try:
            if not os.geteuid():
                os.setuid(65534)
            listen_for_setting(ListenAddress("127.0.0.1", 1023), "http")
        except ConfigError as exc:
            os.write(writing, str(exc).encode())
        finally:
            os._exit(0)
    os.close(writing)
    error = os.read(reading, 1000).decode()
    os.close(reading)
    os.waitpid(child, 0)
    assert error == "http: cannot listen on 127.0.0.1:1023: permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE"


def test_the_error_for_a_port_in_use_names_the_flag() -> None:
    with listen_on(ListenAddress("127.0.0.1", 0)) as sock:
        taken = ListenAddress("127.0.0.1", sock.getsockname()[1])
        with pytest.raises(UnavailableError, match=r"http: 127\.0\.0\.1:\d+ is in use .* --http"):
            listen_for_setting(taken, "http")


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_local_is_an_error(host: str) -> None:
    with pytest.raises(ConfigError, match=f"agents: cannot listen on {host}:4443"):
        listen_for_setting(ListenAddress(host, 4443), "agents")
