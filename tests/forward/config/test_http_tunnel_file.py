import builtins
from pathlib import Path
from typing import Any

import pytest

from portway.engine.policy import UNLIMITED, Policy
from portway.errors import ConfigError
from portway.forward.config.http_tunnel_file import HttpTunnelFile, read_duration_s, read_http_tunnel_file
from portway.forward.policy.patterns import RegexPattern, SuffixPattern

pytest.importorskip("yaml")

SAMPLE = r"""
client_connection:
  initiation_timeout: 10s
  # a comment
  relay_policy:
    idle_timeout: 30s
    min_rate_bpm: 1000
    max_rate_bps: 10000

target_connection:
  dns_cache_ttl: 60s
  allowed_targets: "^(?i)([a-z]+)\\.(wikipedia|rust-lang)\\.org:443$"
  connect_timeout: 10s
  relay_policy:
    idle_timeout: 10s
    min_rate_bpm: 1000
    max_rate_bps: 10000
    max_lifetime: 100s
    max_total_payload: 100mb
"""
"""The keys and values of http-tunnel's sample, with the two limits that are comments there."""

BROWSER = """
client_connection:
  initiation_timeout: 100s
  relay_policy: {idle_timeout: 300s, min_rate_bpm: 0, max_rate_bps: 10000000}
target_connection:
  dns_cache_ttl: 60s
  allowed_targets: ".*" # anything
  connect_timeout: 100s
  relay_policy: {idle_timeout: 100s, min_rate_bpm: 0, max_rate_bps: 10000000}
"""


def read(folder: Path, text: str) -> HttpTunnelFile:
    path = folder / "http-tunnel.yaml"
    path.write_text(text)
    return read_http_tunnel_file(path)


def test_the_sample_file_has_its_meaning(tmp_path: Path) -> None:
    pytest.importorskip("re2")
    found = read(tmp_path, SAMPLE)

    assert (found.initiation_timeout_s, found.connect_timeout_s, found.dns_cache_ttl_s) == (10, 10, 60)
    assert found.client_policy == Policy(idle_timeout_s=30, min_rate_bpm=1000, max_rate_bps=10000)
    assert found.target_policy == Policy(
        idle_timeout_s=10, min_rate_bpm=1000, max_rate_bps=10000, max_lifetime_s=100, max_total_payload=100_000_000
    )
    assert isinstance(found.allowed_targets, RegexPattern)
    assert found.allowed_targets.expression.matches("EN.wikipedia.org:443")
    assert not found.allowed_targets.expression.matches("en.wikipedia.org:80")
    assert not found.allow_private


def test_the_file_for_browsers_has_its_meaning(tmp_path: Path) -> None:
    found = read(tmp_path, BROWSER)

    assert found.client_policy == Policy(max_rate_bps=10_000_000), "300s means no timeout, and 0 no minimum"
    assert found.target_policy == Policy(idle_timeout_s=100, max_rate_bps=10_000_000)
    assert isinstance(found.allowed_targets, SuffixPattern)


def test_an_empty_file_has_the_defaults_of_http_tunnel(tmp_path: Path) -> None:
    assert read(tmp_path, "") == HttpTunnelFile()
    assert read(tmp_path, "client_connection:\ntarget_connection: ~\n") == HttpTunnelFile()
    assert HttpTunnelFile().initiation_timeout_s == 300
    assert HttpTunnelFile().client_policy == UNLIMITED


def test_private_targets_are_allowed_by_a_key_of_ours(tmp_path: Path) -> None:
    assert read(tmp_path, "target_connection: {allow_private: true}").allow_private


def test_aliases_are_followed(tmp_path: Path) -> None:
    text = "client_connection: {relay_policy: &p {idle_timeout: 5s}}\ntarget_connection: {relay_policy: *p}"

    assert read(tmp_path, text).target_policy == Policy(idle_timeout_s=5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("client_connection:\n  initiation_timeout: soon", r"line 2: \$\.client_connection\.initiation_timeout: invalid duration 'soon'"),
        ("client_connection:\n  initiation_timeout: 0s", "invalid timeout"),
        ("client_connection:\n  initiation_timeout: [1s]", "expected a single value"),
        (
            "client_connection:\n  initiation_timeut: 1s",
            r"\$\.client_connection\.initiation_timeut: unknown setting; did you mean initiation_timeout",
        ),
        ("target_connection:\n  tcp_policies: {}", r"\$\.target_connection\.tcp_policies: unknown setting"),
        ("proxy: {}", r"\$\.proxy: unknown setting"),
        ("- a\n- b", "expected a mapping"),
        ("text", "expected a mapping"),
        (
            "client_connection:\n  relay_policy:\n    max_rate_bps: fast",
            r"line 3: \$\.client_connection\.relay_policy\.max_rate_bps: invalid number",
        ),
        ("client_connection:\n  relay_policy:\n    max_rate_bps: 1_000", "invalid number"),
        ("client_connection:\n  relay_policy:\n    max_rate_bps: 0", "invalid limit 0"),
        ("client_connection:\n  relay_policy: {min_rate_bpm: 1000, max_rate_bps: 10}", "invalid minimum"),
        ("target_connection:\n  relay_policy:\n    max_total_payload: 100 apples", "invalid size"),
        ("client_connection: {}\nclient_connection: {}", r"line 2: \$: invalid or repeated key"),
        ("client_connection: {", "invalid YAML"),
        ("a: &a [*a]", r"\$\.a: unknown setting"),
        ("[" * 100_000, "invalid YAML"),
        ("client_connection: !!python/object/apply:os.system [echo]", "expected a mapping"),
        ("\x00", "invalid YAML"),
        ("# " + "x" * 1_100_000, "too large"),
    ],
)
def test_an_invalid_file_is_refused_with_line_and_key(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"http-tunnel.yaml: .*{message}"):
        read(tmp_path, text)


def test_an_invalid_expression_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("re2")
    with pytest.raises(ConfigError, match=r"\$\.target_connection\.allowed_targets: invalid regular expression"):
        read(tmp_path, 'target_connection: {allowed_targets: "("}')


def test_a_missing_file_is_fatal(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_http_tunnel_file(tmp_path / "missing.yaml")


def test_many_aliases_are_not_expanded(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]

    with pytest.raises(ConfigError, match="unknown setting"):
        read(tmp_path, "\n".join(rows))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("1min 30sec", 90), ("2h5m", 7500), ("500ms", 0.5), ("1 day", 86400), ("300 seconds", 300), ("1week", 604800)],
)
def test_durations_are_those_of_humantime(text: str, seconds: float) -> None:
    assert read_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "10 parsecs", "-1s", "1.5s", "10s,"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="duration"):
        read_duration_s(text)


def test_without_yaml_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_yaml(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_yaml)
    with pytest.raises(ConfigError, match=r"pip install 'portway\[proxy\]'"):
        read(tmp_path, "")
