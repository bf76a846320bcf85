"""frp, a server and two clients: `tcp` proxies or virtual hosts, with its defaults (TLS, mux) or without both."""

from dataclasses import dataclass

from bench.origins import Origins
from bench.ports import free_ports
from bench.processes import Child, Processes
from bench.systems.base import Address, Published
from bench.systems.health import wait_for_listener
from bench.systems.links import Links
from bench.tools import need

TOKEN = "bench"  # frp has one for all clients; both ends live for minutes on loopback
START_S = 10.0

# Keys as in frp's own full examples (frps_full_example.toml, frpc_full_example.toml, 0.52 and later). Dotted keys come before tables.
_SERVER = """\
bindAddr = "127.0.0.1"
bindPort = {control}
proxyBindAddr = "127.0.0.1"
auth.method = "token"
auth.token = "{token}"
log.to = "console"
log.level = "warn"
transport.tcpMux = {mux}
"""
_VHOST = """\
vhostHTTPPort = {vhost}
"""
_CLIENT = """\
user = "{user}"
serverAddr = "{host}"
serverPort = {control}
loginFailExit = false
auth.method = "token"
auth.token = "{token}"
log.to = "console"
log.level = "warn"
transport.tcpMux = {mux}
transport.tls.enable = {tls}
"""
_PROXY = """\
[[proxies]]
name = "{name}"
type = "{kind}"
localIP = "127.0.0.1"
localPort = {origin}
{place}
"""


@dataclass(frozen=True, slots=True)
class Frp:
    """`kind` is frp's own word: tcp, or http for virtual hosts."""

    name: str
    kind: str
    tls_and_mux: bool = True
    needs: tuple[str, ...] = ("frps", "frpc")

    def server_config(self, control: int, vhost: int) -> str:
        """The server's file: what is not named is frp's default, TLS accepted but not demanded."""
        text = _SERVER.format(control=control, token=TOKEN, mux=self._switch())
        return text + (_VHOST.format(vhost=vhost) if self.kind == "http" else "")

    def client_config(self, user: str, dial: tuple[str, int], services: dict[str, tuple[int, int]]) -> str:
        """A client's file; `services` is name → the origin's port, the public port."""
        text = _CLIENT.format(user=user, host=dial[0], control=dial[1], token=TOKEN, mux=self._switch(), tls=self._switch())
        for name, (origin, port) in services.items():
            place = f"remotePort = {port}" if self.kind == "tcp" else f'customDomains = ["{name}.localhost"]'
            text += _PROXY.format(name=name, kind=self.kind, origin=origin, place=place)
        return text

    def start(self, crew: Processes, origins: Origins, links: Links) -> Published:
        """Write the files and start all ends, the server first."""
        control, vhost, *ports = free_ports(5)
        server = self._run(crew, "frps", "server", self.server_config(control, vhost))
        wait_for_listener(control, START_S, server)
        dial = links.dial(control)
        ours = {"web": (origins.web_port, ports[0]), "bulk": (origins.bulk_port, ports[1])}
        self._run(crew, "frpc", "client", self.client_config("bench", dial, ours))
        self._run(crew, "frpc", "tenant", self.client_config("another", dial, {"tenant": (origins.bulk_port, ports[2])}))
        if self.kind == "http":
            web, bulk, tenant = (Address(vhost, f"{name}.localhost:{vhost}") for name in ("web", "bulk", "tenant"))
        else:
            web, bulk, tenant = map(Address.of_port, ports)
        return Published(web=web, bulk=bulk, tenant=tenant)

    def _switch(self) -> str:
        return "true" if self.tls_and_mux else "false"

    def _run(self, crew: Processes, program: str, name: str, text: str) -> Child:
        path = crew.folder / f"{name}.toml"
        path.write_text(text)
        return crew.start([need(program), "-c", str(path)], f"frp-{name}")
