"""rathole: a server and two clients over plain TCP, TLS or noise; the main peer to compare with."""

import re
import subprocess
from dataclasses import dataclass

from bench.errors import BenchError
from bench.origins import Origins
from bench.ports import free_ports
from bench.processes import Processes
from bench.systems.base import Address, Published
from bench.systems.certificates import Certificate, make_certificate
from bench.systems.links import Links
from bench.tools import need

TOKENS = {"web": "bench", "bulk": "bench", "tenant": "another"}  # not real secrets: both ends run for minutes on loopback
COMMAND_S = 5.0

_END = """\
[{end}]
{address} = "{host}:{control}"
{transport}
"""
_SERVICE = """\
[{end}.services.{name}]
token = "{token}"
{address} = "127.0.0.1:{port}"
"""
_SERVER_TLS = """\
[server.transport]
type = "tls"
[server.transport.tls]
pkcs12 = "{pkcs12}"
pkcs12_password = "{password}"
"""
_CLIENT_TLS = """\
[client.transport]
type = "tls"
[client.transport.tls]
trusted_root = "{certificate}"
hostname = "localhost"
"""
_NOISE = """\
[{end}.transport]
type = "noise"
[{end}.transport.noise]
{key} = "{value}"
"""
_KEYS = re.compile(r"Private Key:\s+(\S+)\s+Public Key:\s+(\S+)")


@dataclass(frozen=True, slots=True)
class NoiseKeys:
    """The server's key pair; clients have its public half (pattern NK, rathole's default)."""

    private: str
    public: str


def parse_genkey(text: str) -> NoiseKeys:
    """Parse the output of `rathole --genkey`.

    Raises:
        BenchError: it contains no key pair.
    """
    match = _KEYS.search(text)
    if match is None:
        raise BenchError(f"expected a private and a public key from rathole --genkey, got {len(text)} characters without them")
    return NoiseKeys(match[1], match[2])


def transport_of(end: str, secrets: Certificate | NoiseKeys | None) -> str:
    """Return the tables that select the transport of `server` or `client`."""
    if isinstance(secrets, NoiseKeys):
        key, value = ("local_private_key", secrets.private) if end == "server" else ("remote_public_key", secrets.public)
        return _NOISE.format(end=end, key=key, value=value)
    if isinstance(secrets, Certificate):
        server = _SERVER_TLS.format(pkcs12=secrets.pkcs12, password=secrets.password)
        return server if end == "server" else _CLIENT_TLS.format(certificate=secrets.certificate)
    return ""


def config(end: str, control: tuple[str, int], services: dict[str, int], secrets: Certificate | NoiseKeys | None) -> str:
    """Return the file of one end; the rest are rathole's defaults, such as TCP_NODELAY."""
    outer, inner = ("bind_addr", "bind_addr") if end == "server" else ("remote_addr", "local_addr")
    head = _END.format(end=end, address=outer, host=control[0], control=control[1], transport=transport_of(end, secrets))
    return head + "".join(
        _SERVICE.format(end=end, name=name, token=TOKENS[name], address=inner, port=port) for name, port in services.items()
    )


@dataclass(frozen=True, slots=True)
class Rathole:
    """One server, one client with two services, and another client with one."""

    transport: str

    @property
    def name(self) -> str:
        """The name: `rathole plain`, `rathole tls` or `rathole noise`."""
        return f"rathole {self.transport}"

    @property
    def needs(self) -> tuple[str, ...]:
        """Needs openssl for the certificate."""
        return ("rathole", "openssl") if self.transport == "tls" else ("rathole",)

    def start(self, processes: Processes, origins: Origins, links: Links) -> Published:
        """Write the files, then start the server and its clients."""
        control, *ports = free_ports(4)
        secrets = self._secrets(processes)
        self._run(processes, "server", "server", config("server", ("127.0.0.1", control), dict(zip(TOKENS, ports, strict=True)), secrets))
        dial = links.dial(control)
        ours = {"web": origins.web_port, "bulk": origins.bulk_port}
        self._run(processes, "client", "client", config("client", dial, ours, secrets))
        self._run(processes, "client", "tenant", config("client", dial, {"tenant": origins.bulk_port}, secrets))
        web, bulk, tenant = map(Address.of_port, ports)
        return Published(web=web, bulk=bulk, tenant=tenant)

    def _secrets(self, processes: Processes) -> Certificate | NoiseKeys | None:
        if self.transport == "tls":
            return make_certificate(processes.folder)
        if self.transport == "noise":
            argv = [need("rathole"), "--genkey"]
            try:
                output = subprocess.run(
                    argv, capture_output=True, text=True, timeout=COMMAND_S, check=False, stdin=subprocess.DEVNULL
                ).stdout
            except subprocess.TimeoutExpired as exc:
                raise BenchError(f"rathole --genkey took more than {COMMAND_S:g} s") from exc
            return parse_genkey(output)
        return None

    def _run(self, processes: Processes, end: str, name: str, text: str) -> None:
        path = processes.folder / f"{name}.toml"
        path.write_text(text)
        processes.start([need("rathole"), f"--{end}", str(path)], f"rathole-{name}")
