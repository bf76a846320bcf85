"""Configuration files that systems get, and addresses that they print."""

import tomllib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from bench.errors import BenchError
from bench.origins import TlsOrigins, nginx_config
from bench.systems.base import Address
from bench.systems.bore import client_argv, server_argv
from bench.systems.caddy import site
from bench.systems.certificates import Certificate, make_certificate
from bench.systems.frp import Frp
from bench.systems.haproxy import edge_config, hop_config, tls_words
from bench.systems.nginx import Hop
from bench.systems.nginx import config as nginx_proxy
from bench.systems.portway import address_of, portway_env
from bench.systems.rathole import NoiseKeys, config, parse_genkey
from bench.tools import missing

MADE = Certificate(Path("/c.pem"), Path("/k.pem"), Path("/i.pfx"), "word", Path("/b.pem"))


def test_rathole_publishes_services_over_plain_links() -> None:
    server = tomllib.loads(config("server", ("127.0.0.1", 1), {"web": 2, "bulk": 3, "tenant": 4}, None))["server"]
    client = tomllib.loads(config("client", ("127.0.0.9", 5), {"web": 81, "bulk": 82}, None))["client"]
    tenant = tomllib.loads(config("client", ("127.0.0.9", 5), {"tenant": 82}, None))["client"]

    assert server["bind_addr"] == "127.0.0.1:1"
    assert {name: each["bind_addr"] for name, each in server["services"].items()} == {
        "web": "127.0.0.1:2",
        "bulk": "127.0.0.1:3",
        "tenant": "127.0.0.1:4",
    }
    assert client["remote_addr"] == tenant["remote_addr"] == "127.0.0.9:5"
    assert {name: each["local_addr"] for name, each in client["services"].items()} == {"web": "127.0.0.1:81", "bulk": "127.0.0.1:82"}
    assert tenant["services"]["tenant"]["token"] == server["services"]["tenant"]["token"] != client["services"]["bulk"]["token"]
    assert "transport" not in server | client


def test_rathole_over_tls_verifies_the_server() -> None:
    server = tomllib.loads(config("server", ("127.0.0.1", 1), {"web": 2}, MADE))["server"]["transport"]
    client = tomllib.loads(config("client", ("127.0.0.1", 1), {"web": 2}, MADE))["client"]["transport"]

    assert server == {"type": "tls", "tls": {"pkcs12": "/i.pfx", "pkcs12_password": "word"}}
    assert client == {"type": "tls", "tls": {"trusted_root": "/c.pem", "hostname": "localhost"}}


def test_rathole_over_noise_gives_each_end_its_key() -> None:
    keys = parse_genkey("Private Key:\nq/grc=\n\nPublic Key:\nLF6jy=\n")

    server = tomllib.loads(config("server", ("127.0.0.1", 1), {"web": 2}, keys))["server"]["transport"]
    client = tomllib.loads(config("client", ("127.0.0.1", 1), {"web": 2}, keys))["client"]["transport"]

    assert keys == NoiseKeys("q/grc=", "LF6jy=")
    assert server == {"type": "noise", "noise": {"local_private_key": "q/grc="}}
    assert client == {"type": "noise", "noise": {"remote_public_key": "LF6jy="}}
    with pytest.raises(BenchError, match="expected a private and a public key"):
        parse_genkey("error: no such option")


def test_bore_binds_an_address_of_its_own_because_its_port_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.systems.bore.need", lambda program: program)

    server, client = server_argv("127.7.7.7"), client_argv("127.8.8.8", 81, 2)

    assert server[:2] == ["bore", "server"]
    assert server[server.index("--bind-addr") + 1] == "127.7.7.7"
    assert client[:3] == ["bore", "local", "81"]
    assert client[client.index("--to") + 1] == "127.8.8.8"
    assert server[-2:] == client[-2:] == ["--secret", "bench"]


def test_frp_has_tcp_proxies_with_its_defaults() -> None:
    frp = Frp("frp tcp", "tcp")

    server = tomllib.loads(frp.server_config(1, 2))
    client = tomllib.loads(frp.client_config("bench", ("127.0.0.1", 9), {"web": (81, 3), "bulk": (82, 4)}))

    assert (server["bindPort"], server["transport"], "vhostHTTPPort" in server) == (1, {"tcpMux": True}, False)
    assert (client["serverAddr"], client["serverPort"]) == ("127.0.0.1", 9)
    assert client["transport"] == {"tcpMux": True, "tls": {"enable": True}}
    assert client["auth"]["token"] == server["auth"]["token"]
    assert [(each["name"], each["type"], each["localPort"], each["remotePort"]) for each in client["proxies"]] == [
        ("web", "tcp", 81, 3),
        ("bulk", "tcp", 82, 4),
    ]


def test_frp_has_virtual_hosts_on_one_port() -> None:
    frp = Frp("frp vhost", "http")

    client = tomllib.loads(frp.client_config("another", ("127.0.0.1", 9), {"tenant": (82, 4)}))

    assert tomllib.loads(frp.server_config(1, 2))["vhostHTTPPort"] == 2
    assert client["user"] == "another"
    assert client["proxies"][0]["customDomains"] == ["tenant.localhost"]
    assert "remotePort" not in client["proxies"][0]


def test_frp_without_tls_has_no_mux_either() -> None:
    frp = Frp("frp tcp plain", "tcp", tls_and_mux=False)

    assert tomllib.loads(frp.server_config(1, 2))["transport"] == {"tcpMux": False}
    assert tomllib.loads(frp.client_config("bench", ("127.0.0.1", 9), {}))["transport"] == {"tcpMux": False, "tls": {"enable": False}}


def test_a_hop_of_haproxy_splices_all_services() -> None:
    text = hop_config("tcp", (4, 5, 6), (7, 8, 9), 100)

    assert "mode tcp" in text
    assert "option splice-response" in text
    assert text.index("bind 127.0.0.1:4 ") < text.index("server next 127.0.0.1:7") < text.index("bind 127.0.0.1:5 ")
    assert text.endswith("server next 127.0.0.1:9\n")


def test_tls_between_the_hops_of_haproxy_is_verified_and_has_large_buffers() -> None:
    accept_tls, dial_tls = tls_words(MADE)

    near = hop_config("tcp", (4, 5, 6), (7, 8, 9), 100, accept_tls=accept_tls)
    far = hop_config("tcp", (1, 2, 3), (4, 5, 6), 100, dial_tls=dial_tls)

    assert "bind 127.0.0.1:4 backlog 4096 ssl crt /b.pem\n" in near
    assert "server next 127.0.0.1:4 ssl verify required ca-file /c.pem verifyhost localhost\n" in far
    assert "ssl" not in near.partition("server next 127.0.0.1:7")[2].partition("\n")[0]
    assert "tune.bufsize 262144" in near
    assert "tune.bufsize 262144" in far
    assert "bufsize" not in hop_config("tcp", (4, 5, 6), (7, 8, 9), 100)


def test_the_http_edge_of_haproxy_chooses_by_host() -> None:
    text = edge_config(5, (7, 8, 9), 100)

    assert "mode http" in text
    assert "use_backend web if { hdr(host) -m beg web.localhost }" in text
    assert "use_backend tenant if { hdr(host) -m beg tenant.localhost }" in text
    assert "splice" not in text


def test_the_https_edge_of_haproxy_terminates_tls_and_dials_it() -> None:
    accept_tls, dial_tls = tls_words(MADE)

    text = edge_config(5, (7, 8, 9), 100, accept_tls=accept_tls, dial_tls=dial_tls)

    assert "bind 127.0.0.1:5 backlog 4096 ssl crt /b.pem\n" in text
    assert text.count(" ssl verify required ca-file /c.pem verifyhost localhost\n") == 3
    assert "http-reuse always" in text


def test_nginx_takes_the_options_of_a_shared_port_once() -> None:
    outer = nginx_proxy("edge", [Hop("web", 5, 7, True, True, "web.localhost"), Hop("bulk", 5, 8, True, True, "bulk.localhost")], MADE, 64)
    inner = nginx_proxy("near", [Hop("web", 7, 80, True, False)], MADE, 64)

    assert outer.count("listen 127.0.0.1:5 ssl") == 2
    assert outer.count("backlog=4096") == 1
    assert "server_name bulk.localhost;" in outer
    assert "proxy_pass https://web;" in outer
    assert "proxy_ssl_verify on;" in outer
    assert "proxy_ssl_trusted_certificate /c.pem;" in outer
    assert "proxy_pass http://web;" in inner
    assert "server 127.0.0.1:80;" in inner


def test_caddy_verifies_the_next_process_and_keeps_its_connections() -> None:
    outer, inner = site("web.localhost", 5, 7, MADE, dial_tls=True), site("", 7, 80, MADE, dial_tls=False)

    assert outer.startswith("https://web.localhost:5 {")
    assert "reverse_proxy https://127.0.0.1:7 {" in outer
    assert "tls_trusted_ca_certs /c.pem" in outer
    assert "keepalive_idle_conns_per_host 256" in outer
    assert inner.startswith("https://:7 {")
    assert "reverse_proxy http://127.0.0.1:80 {" in inner
    assert "tls_trusted_ca_certs" not in inner


def test_a_certificate_has_all_names_and_the_curve_of_portways_identity(tmp_path: Path) -> None:
    if reason := missing(("openssl",)):
        pytest.skip(reason)

    made = make_certificate(tmp_path, ("a.localhost", "b.localhost"))

    found = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    key = found.public_key()
    assert names.get_values_for_type(x509.DNSName) == ["a.localhost", "b.localhost"]
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert made.pem.read_bytes() == made.certificate.read_bytes() + made.key.read_bytes()


def test_the_load_programs_get_the_name_and_the_certificate() -> None:
    assert Address.of_port(1).dial_words == ()
    assert Address.of_name("web.localhost", 5, Path("/c.pem")).dial_words == ("web.localhost", "/c.pem")
    assert Address.of_name("web.localhost", 5, Path("/c.pem")).authority == "web.localhost:5"


def test_nginx_serves_the_same_behind_tls() -> None:
    text = nginx_config(80, 1024, TlsOrigins(81, 82, MADE))

    assert "listen 127.0.0.1:80 backlog=4096;" in text
    assert "listen 127.0.0.1:81 ssl backlog=4096;" in text
    assert "ssl" not in nginx_config(80, 1024)


def test_nginx_listens_on_loopback_only() -> None:
    text = nginx_config(80, 1024)

    assert "listen 127.0.0.1:80 backlog=4096;" in text
    assert 'return 200 "Hello, visitor.\\n";' in text


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("http://app.localhost:8080", Address(8080, "app.localhost:8080")),
        ("tcp://127.0.0.1:20001", Address(20001, "127.0.0.1:20001")),
        ("app  http://app.localhost:8080/ -> 3000", Address(8080, "app.localhost:8080")),
    ],
)
def test_the_public_address_is_in_the_agents_first_line(line: str, address: Address) -> None:
    assert address_of(line) == address


def test_a_first_line_without_a_url_is_an_error() -> None:
    with pytest.raises(BenchError, match="expected a URL"):
        address_of("hello")


def test_portway_finds_no_other_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PORTWAY_JOIN", "portway://x")
    monkeypatch.setenv("PORTWAY_ENGINE", "portable")

    env = portway_env(tmp_path)

    assert "PORTWAY_JOIN" not in env
    assert env["PORTWAY_ENGINE"] == "portable"
    assert env["HOME"] == env["XDG_RUNTIME_DIR"] == str(tmp_path)
