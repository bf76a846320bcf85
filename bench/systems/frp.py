"""frp: a server and two clients; `tcp` proxies or virtual hosts, with the defaults (TLS, mux) or without both."""

from dataclasses import dataclass

from bench.origins import Origins
from bench.ports import free_ports
from bench.processes import Child, Processes
from bench.systems.base import Address, Published
from bench.systems.health import wait_for_listener
from bench.systems.links import Links
from bench.tools import need

TOKEN = "bench"  # frp has one for all clients; both ends run for minutes on loopback
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
    """One server and two clients. `kind` is frp's term: tcp, or http for virtual hosts."""

    name: str
    kind: str
    tls_and_mux: bool = True
    needs: tuple[str, ...] = ("frps", "frpc")

    def server_config(self, control: int, vhost: int) -> str:
        """Return the server's file; the rest are frp's defaults, with TLS accepted but not required."""
        text = _SERVER.format(control=control, token=TOKEN, mux=self._switch())
        return text + (_VHOST.format(vhost=vhost) if self.kind == "http" else "")

    def client_config(self, user: str, dial: tuple[str, int], services: dict[str, tuple[int, int]]) -> str:
        """Return a client's file; `services` maps a name to the origin's port and the public port."""
        text = _CLIENT.format(user=user, host=dial[0], control=dial[1], token=TOKEN, mux=self._switch(), tls=self._switch())
        for name, (origin, port) in services.items():
            place = f"remotePort = {port}" if self.kind == "tcp" else f'customDomains = ["{name}.localhost"]'
            text += _PROXY.format(name=name, kind=self.kind, origin=origin, place=place)
        return text

    def start(self, processes: Processes, origins: Origins, links: Links) -> Published:
        """Write the files, then start the server and its clients."""
        control, vhost, *ports = free_ports(5)
        server = self._run(processes, "frps", "server", self.server_config(control, vhost))
        wait_for_listener(control, START_S, server)
        dial = links.dial(control)
        ours = {"web": (origins.web_port, ports[0]), "bulk": (origins.bulk_port, ports[1])}
        self._run(processes, "frpc", "client", self.client_config("bench", dial, ours))
        self._run(processes, "frpc", "tenant", self.client_config("another", dial, {"tenant": (origins.bulk_port, ports[2])}))
        if self.kind == "http":
            web, bulk, tenant = (Address(vhost, f"{name}.localhost:{vhost}") for name in ("web", "bulk", "tenant"))
        else:
            web, bulk, tenant = map(Address.of_port, ports)
        return Published(web=web, bulk=bulk, tenant=tenant)

    def _switch(self) -> str:
        return "true" if self.tls_and_mux else "false"

    def _run(self, processes: Processes, program: str, name: str, text: str) -> Child:
        path = processes.folder / f"{name}.toml"
        path.write_text(text)
        return processes.start([need(program), "-c", str(path)], f"frp-{name}")
