"""Precedence is flag, environment, file, default; errors name their source."""

import re
from pathlib import Path

import pytest

from portway.config.sources import load_settings, read_toml
from portway.config.values import ListenAddress, PortRange
from portway.errors import ConfigError
from portway.server.settings import ServerSettings, defaults_for

FLAG, ENV, FILE, DEFAULT = "127.0.0.1:1001", "127.0.0.1:1002", "127.0.0.1:1003", "127.0.0.1:8080"


def load(flags: dict[str, object] | None = None, environ: dict[str, str] | None = None, file: Path | None = None) -> ServerSettings:
    return load_settings(ServerSettings, "server", flags=flags or {}, environ=environ or {}, file=file, defaults=defaults_for)


def write(folder: Path, text: str) -> Path:
    path = folder / "portway.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("given", range(8))
def test_precedence_is_flag_environment_file_default(given: int, tmp_path: Path) -> None:
    flags: dict[str, object] = {"http": FLAG if given & 4 else None}
    environ = {"PORTWAY_HTTP": ENV} if given & 2 else {}
    file = write(tmp_path, f'[server]\nhttp = "{FILE}"\n') if given & 1 else None
    expected = FLAG if given & 4 else ENV if given & 2 else FILE if given & 1 else DEFAULT

    assert str(load(flags, environ, file).http) == expected


def test_every_key_of_a_full_file_is_read(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        [server]
        domain = "Tunnel.Example.org"
        http = ":8000"
        agents = "[::1]:4444"
        tcp_ports = "30000-30010"
        advertise = "tunnel.example.org:443"
        data = "/var/lib/portway"
        plaintext_links = true
        log_visitors = true
        agents_certificate = "/etc/portway/cert.pem"
        agents_key = "/etc/portway/key.pem"
        no_speed_test = true
        hold = "2s"
        grace = "1h"
        max_request_head = "64KiB"
        max_answer_head = "1MiB"
        max_fields = "200"
        via = "edge.example.org"
        trusted_proxies = ["10.0.0.0/8", "::1"]
        forwarded_fields = "forwarded"
        trusted_header = "X-Auth-Request-User, Remote-*"
        proxy_protocol = ["http", "tcp"]
        public_url = "https://Tunnel.Example.org:443/"
        """,
    )

    assert load(file=file) == ServerSettings(
        domain="tunnel.example.org",
        http=ListenAddress("", 8000),
        agents=ListenAddress("::1", 4444),
        tcp_ports=PortRange(30000, 30010),
        advertise=ListenAddress("tunnel.example.org", 443),
        data=Path("/var/lib/portway"),
        plaintext_links=True,
        log_visitors=True,
        agents_certificate=Path("/etc/portway/cert.pem"),
        agents_key=Path("/etc/portway/key.pem"),
        no_speed_test=True,
        hold_s=2.0,
        grace_s=3600.0,
        max_request_head=65536,
        max_answer_head=1048576,
        max_fields=200,
        via="edge.example.org",
        trusted_proxies=("10.0.0.0/8", "::1/128"),
        forwarded_fields="forwarded",
        trusted_header=("x-auth-request-user", "remote-*"),
        proxy_protocol=("http", "tcp"),
        public_url="https://tunnel.example.org",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[server]\nhttp = "nine"\n', r"portway.toml: \$\.server\.http: expected an address like 127\.0\.0\.1:8080 or :80, got 'nine'"),
        ("[server]\nhttp = 8080\n", r"\$\.server\.http: expected text in quotes, got 8080"),
        ('[server]\nplaintext_links = "yes"\n', r"\$\.server\.plaintext_links: expected true or false, got 'yes'"),
        ('[server]\ntcp-ports = "1-2"\n', r"\$\.server\.tcp-ports: unknown setting; did you mean tcp_ports\?"),
        ("[server]\ncolour = 1\n", r"\$\.server\.colour: unknown setting; expected one of domain, http, "),
        ("[sever]\n", r"\$\.sever: unknown setting; did you mean server\?"),
        ('server = "x"\n', r"\$\.server: expected a table, \[server\], got 'x'"),
        ("[server\n", r"invalid TOML: .*line 1"),
        ('[server]\ndomain = "a_b..c"\n', r"\$\.server\.domain: expected a domain like"),
        ('[server]\nhold = "5"\n', r"\$\.server\.hold: .*90s"),
        (
            '[server]\ntrusted_proxies = "10.0.0.1/8"\n',
            r"\$\.server\.trusted_proxies: invalid network .*: expected networks like 10\.0\.0\.0/8",
        ),
        ("[server]\ntrusted_proxies = [1]\n", r"\$\.server\.trusted_proxies: expected text in quotes, got \[1\]"),
        ("[server]\ntrusted_proxies = []\n", r"\$\.server\.trusted_proxies: expected text in quotes, got \[\]"),
        ('[server]\nhttp = [":80"]\n', r"\$\.server\.http: expected text in quotes"),
        ('[server]\nforwarded_fields = "x"\n', r"\$\.server\.forwarded_fields: expected x-forwarded or forwarded, got 'x'"),
        ('[server]\ntrusted_header = "X-Forwarded-For"\n', r"\$\.server\.trusted_header: X-Forwarded-For cannot be forwarded"),
        ('[server]\ntrusted_header = "a b"\n', r"\$\.server\.trusted_header: invalid header name 'a b': expected names like"),
        ('[server]\nproxy_protocol = "udp"\n', r"\$\.server\.proxy_protocol: expected listeners, http or https or tcp, got 'udp'"),
        ('[server]\npublic_url = "tunnel.example.org"\n', r"\$\.server\.public_url: expected a URL like https://tunnel"),
        (
            '[server]\npublic_url = "https://localhost/path"\n',
            r"\$\.server\.public_url: expected a URL like .*path, user and query are not allowed",
        ),
        ('[server]\npublic_url = "https://a..b"\n', r"\$\.server\.public_url: expected a URL like"),
        ('[server]\nvia = "a b"\n', r"\$\.server\.via: expected a name of letters"),
        ('[server]\nmax_fields = "-1"\n', r"\$\.server\.max_fields: expected a number, got '-1'"),
        ('[server]\nhold = "2h"\n', r"portway.toml: \$\.server\.hold: expected 0s to 60s, got 7200s"),
    ],
)
def test_an_error_in_the_file_names_the_file_and_the_path_of_the_key(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load(file=write(tmp_path, text))


def test_an_error_in_the_environment_or_a_flag_names_it() -> None:
    with pytest.raises(ConfigError, match=r"^PORTWAY_TCP_PORTS: expected ports like 20000-20999, got 'x'$"):
        load(environ={"PORTWAY_TCP_PORTS": "x"})
    with pytest.raises(ConfigError, match=r"^--agents: expected an address"):
        load(flags={"agents": "x"})
    with pytest.raises(ConfigError, match=r"^PORTWAY_PLAINTEXT_LINKS: expected yes or no, got 'maybe'$"):
        load(environ={"PORTWAY_PLAINTEXT_LINKS": "maybe"})


def test_errors_of_two_settings_name_both_sources(tmp_path: Path) -> None:
    file = write(tmp_path, '[server]\nhttp = "127.0.0.1:7000"\n')

    with pytest.raises(ConfigError, match=r"portway\.toml: \$\.server\.http, --agents: expected two addresses"):
        load({"agents": "127.0.0.1:7000"}, file=file)


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    file = write(tmp_path, '[server]\nhttp = "x"\nhold = "y"\n')

    with pytest.raises(ConfigError) as found:
        load({"tcp_ports": "z"}, file=file)

    assert re.findall(r"^(?:[^$]*: )?(\$\.[\w.]+|--[\w-]+): ", str(found.value), re.MULTILINE) == [
        "$.server.http",
        "$.server.hold",
        "--tcp-ports",
    ]


def test_lists_come_from_repeated_flags_and_from_commas() -> None:
    expected = ("10.0.0.0/8", "::1/128", "192.0.2.7/32")
    assert load({"trusted_proxies": ("10.0.0.0/8,::1", "192.0.2.7")}).trusted_proxies == expected
    assert load(environ={"PORTWAY_TRUSTED_PROXIES": "10.0.0.0/8, ::1, 192.0.2.7"}).trusted_proxies == expected
    assert load({"trusted_proxies": ()}, {"PORTWAY_TRUSTED_PROXIES": "::1"}).trusted_proxies == ("::1/128",)
    with pytest.raises(ConfigError, match=r"^--trusted-proxies: invalid network 'x'"):
        load({"trusted_proxies": ("10.0.0.0/8", "x")})


def test_an_empty_variable_counts_as_unset() -> None:
    assert load(environ={"PORTWAY_HTTP": ""}).http == ListenAddress("127.0.0.1", 8080)


def test_a_real_domain_has_other_defaults_that_can_be_overridden() -> None:
    settings = load({"domain": "example.org", "agents": "127.0.0.1:9"})

    assert settings.http == ListenAddress("", 80)
    assert settings.agents == ListenAddress("127.0.0.1", 9)


def test_the_error_for_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file"):
        read_toml(tmp_path / "nowhere.toml")


def test_a_file_that_is_binary_or_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_bytes(b"#" * (1024 * 1024 + 1))

    with pytest.raises(ConfigError, match="invalid TOML"):
        read_toml(tmp_path / "noise")
    with pytest.raises(ConfigError, match="at most 1048576 bytes"):
        read_toml(tmp_path / "large")
