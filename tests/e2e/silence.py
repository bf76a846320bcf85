"""Paths between agents and server that go silent on demand: nothing arrives any more, not even an end."""

import os
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from portway.protocol.join_string import JoinString
from tests.e2e.world import World, altered
from tests.kit.bad_network_proxy import BadNetworkProxy


@dataclass(frozen=True)
class SilentPath:
    """One such path. Agents take it with the join string `through` and the words `before` their command."""

    through: Callable[[JoinString], JoinString]
    before: tuple[str, ...]
    silence: Callable[[], None]
    heal: Callable[[], None]


@contextmanager
def relay_path(world: World) -> Iterator[SilentPath]:
    """A relay that stops carrying: the kernel still acknowledges what is sent, so only the program can notice."""
    with BadNetworkProxy((world.agents_host, world.agents_port)) as relay:
        yield SilentPath(
            lambda join: altered(join, port=relay.address[1]), (), lambda: relay.blackhole(True), lambda: relay.blackhole(False)
        )


def can_make_networks() -> bool:
    """Return whether this user may make network namespaces, cables between them, and packet filters."""
    if os.geteuid() or not all(shutil.which(tool) for tool in ("ip", "iptables")):
        return False
    name = f"pw{secrets.token_hex(3)}"
    if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
        return False
    tries = [["ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b"], ["ip", "link", "del", f"{name}a"]]
    tries.append(["ip", "netns", "exec", name, "iptables", "-A", "INPUT", "-j", "DROP"])
    worked = all(not subprocess.run(words, check=False, capture_output=True).returncode for words in tries)
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    return worked


@dataclass(frozen=True)
class FarNetwork:
    """A network of its own behind a cable whose packets can be dropped: what pulling a plug far away looks like."""

    near: str
    """This machine's address on the cable."""
    far: str
    """The other end's."""
    inside: tuple[str, ...]
    """The words before a command that runs there."""
    filter_packets: Callable[[str], None]
    """`-A` drops all packets on the cable, `-D` lets them pass again."""


@contextmanager
def far_network() -> Iterator[FarNetwork]:
    """Make one; see `can_make_networks`."""
    name = f"pw{secrets.token_hex(3)}"
    net = f"10.{secrets.randbelow(120) + 100}.{secrets.randbelow(250) + 1}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    inside = ("ip", "netns", "exec", name)

    def filter_packets(action: str) -> None:
        for chain in ("INPUT", "OUTPUT"):
            subprocess.run([*inside, "iptables", "-w", action, chain, "-i" if chain == "INPUT" else "-o", "far", "-j", "DROP"], check=True)

    ip("netns", "add", name)
    try:
        ip("link", "add", name, "type", "veth", "peer", "name", "far", "netns", name)
        ip("addr", "add", f"{net}.1/30", "dev", name)
        ip("link", "set", name, "up")
        ip("-n", name, "addr", "add", f"{net}.2/30", "dev", "far")
        ip("-n", name, "link", "set", "far", "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield FarNetwork(f"{net}.1", f"{net}.2", inside, filter_packets)
    finally:
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@contextmanager
def network_path(world: World) -> Iterator[SilentPath]:
    """A path through a network of its own; sets the address that the world's server listens on for agents: enter it before."""
    with far_network() as network:
        world.agents_host = network.near
        yield SilentPath(lambda join: join, network.inside, lambda: network.filter_packets("-A"), lambda: network.filter_packets("-D"))


@contextmanager
def unix_origin(path: Path, words: str) -> Iterator[str]:
    """A tiny web service on a unix socket, which every network of this machine reaches; yields its TARGET."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(16)
    body = f"hello from {words}\n".encode()

    def serve(sock: socket.socket) -> None:
        with sock:
            while sock.recv(65536):  # one small request each
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, name="unix origin", daemon=True).start()
    try:
        yield f"unix:{path}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
