"""`portway token`: the join string alone on stdout, notes on stderr."""

import json
import os
import re
import stat
from pathlib import Path

import pytest

from portway.clock import wall
from portway.engine.policy import Policy
from portway.protocol.join_string import parse
from portway.protocol.scram import make_verifier
from portway.server.identity import Advertised, ensure_identity, record_advertised
from portway.server.settings import ServerSettings
from portway.server.storage.data_directory import open_state
from portway.server.storage.token_store import Store
from tests.cli.conftest import Portway


def data(home: Path) -> Path:
    return home / "XDG_DATA_HOME" / "portway"


def test_create_prints_only_the_join_string_and_stores_no_secret(portway: Portway, home: Path) -> None:
    done = portway("token", "create", "laptop", "--init")
    join = parse(done.stdout)

    assert done.exit_code == 0
    assert done.stdout.count("\n") == 1
    assert (join.host, join.port, join.pin) == ("127.0.0.1", 4443, ensure_identity(data(home)).pin)
    assert "No server has run" in done.stderr
    assert "No server has run" in portway("token", "create", "phone").stderr, "once it is prepared, it needs no --init"
    assert join.secret not in done.stderr
    assert all(join.secret.encode() not in path.read_bytes() for path in data(home).iterdir())
    with Store(data(home) / "server.db") as store:
        token = store.tokens()[0]
    assert (token.name, token.id) == ("laptop", join.token_id)
    assert token.verifier == make_verifier(join.secret, token.verifier.salt)


def test_the_address_is_what_the_last_server_advertised(portway: Portway, home: Path) -> None:
    record_advertised(data(home), Advertised("tunnel.example.org", 443, "ab" * 32))
    done = portway("token", "create", "laptop", "--init")

    join = parse(done.stdout)
    assert (join.host, join.port, join.pin, join.plaintext) == ("tunnel.example.org", 443, b"\xab" * 32, False)
    assert "No server has run" not in done.stderr


def test_join_strings_of_a_server_without_tls_name_that(portway: Portway, home: Path) -> None:
    record_advertised(data(home), Advertised("10.0.0.1", 4443, plaintext=True))

    join = parse(portway("token", "create", "laptop", "--init").stdout)
    assert (join.plaintext, join.pin) == (True, None)
    fresh = portway("token", "create", "phone", "--init", "--data", str(home / "fresh"), env={"PORTWAY_PLAINTEXT_LINKS": "1"})
    assert parse(fresh.stdout).plaintext


def test_an_explicit_address_takes_precedence_over_the_recorded_one(portway: Portway, home: Path) -> None:
    record_advertised(data(home), Advertised("old.example.org", 443, "ab" * 32))

    join = parse(portway("token", "create", "laptop", "--init", "--advertise", "new.example.org:4443").stdout)
    assert (join.host, join.port, join.pin) == ("new.example.org", 4443, b"\xab" * 32)


def test_directory_and_address_come_from_a_config_file(portway: Portway, home: Path) -> None:
    config = home / "portway.toml"
    config.write_text(f'[server]\ndomain = "example.org"\ndata = "{home / "elsewhere"}"\n')
    done = portway("token", "create", "laptop", "--init", "--config", str(config))

    assert parse(done.stdout).host == "example.org"
    assert (home / "elsewhere" / "server.db").exists()
    assert not data(home).exists()


def test_grants_are_saved_and_shown(portway: Portway, home: Path) -> None:
    limits = (
        "--hosts",
        "app, dev-*",
        "--hosts",
        "*.shop.test",
        "--ports",
        "22000,21000-21099",
        "--protocols",
        "http,tcp",
        "--max-tunnels",
        "3",
    )
    assert portway("token", "create", "laptop", *limits, "--expires", "30d", "--init").exit_code == 0
    assert portway("token", "create", "phone").exit_code == 0

    (first, second) = json.loads(portway("token", "list", "--json").stdout)
    assert first["hosts"] == ["app", "dev-*", "*.shop.test"]
    assert first["ports"] == ["22000", "21000-21099"]
    assert (first["protocols"], first["max_tunnels"], first["state"]) == (["http", "tcp"], 3, "live")
    assert (second["hosts"], second["ports"], second["expires"], second["max_tunnels"]) == (["*"], [], None, 64)
    with Store(data(home) / "server.db") as store:
        ends = store.tokens()[0].grants.expires_at
    assert ends is not None
    assert 29.9 * 86400 < ends - wall() <= 30 * 86400


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--expires", "30", "--expires: invalid duration '30'"),
        ("--ports", "22000,99999", "--ports: expected ports from 1 to 65535"),
        ("--ports", "x", "--ports: expected ports like"),
        ("--hosts", "Foo_*", "--hosts: expected patterns like"),
        ("--protocols", "udp", "--protocols: expected some of http, tcp, tls"),
        ("--max-tunnels", "0", "--max-tunnels: expected at least 1"),
    ],
)
def test_errors_of_invalid_values_name_the_option(portway: Portway, option: str, value: str, message: str) -> None:
    done = portway("token", "create", "laptop", option, value, "--init")

    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


def test_list_prints_a_table(portway: Portway) -> None:
    portway("token", "create", "laptop", "--protocols", "tcp", "--init")
    portway("token", "create", "phone", "--expires", "1h")
    portway("token", "revoke", "laptop")

    lines = portway("token", "list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "ID", "STATE", "CREATED", "GRANTS"]
    assert re.fullmatch(r"laptop +[a-z2-7]{12} +revoked +\d{4}-\d\d-\d\d +tcp on any port", lines[1])
    assert re.fullmatch(r"phone +[a-z2-7]{12} +(59m59s|1h) left +\S+ +http as \*; tcp on any port", lines[2])


def test_a_name_is_free_again_after_revoke(portway: Portway) -> None:
    assert portway("token", "create", "laptop", "--init").exit_code == 0
    taken = portway("token", "create", "laptop")
    assert (taken.exit_code, taken.stdout) == (2, "")
    assert "token laptop already exists" in taken.stderr

    assert portway("token", "revoke", "laptop").exit_code == 0
    assert portway("token", "create", "laptop").exit_code == 0


def test_invalid_grants_are_refused_before_anything_is_created(portway: Portway, home: Path) -> None:
    for option, value in (("--hosts", "a,,b"), ("--hosts", "A"), ("--ports", "x"), ("--protocols", "udp"), ("--max-tunnels", "0")):
        assert portway("token", "create", "laptop", "--init", option, value).exit_code == 2
    assert not data(home).exists()


def test_limits_are_saved_and_shown(portway: Portway, home: Path) -> None:
    limits = ("--idle-timeout", "10m", "--min-rate", "10kb", "--max-rate", "1mb", "--bandwidth", "10MiB", "--max-lifetime", "1d")
    made = portway("token", "create", "laptop", *limits, "--max-total-payload", "1gb", "--init")
    assert made.exit_code == 0, made.stderr
    with Store(data(home) / "server.db") as store:
        (token,) = store.tokens()
    assert token.grants.policy == Policy(
        idle_timeout_s=600.0,
        min_rate_bpm=10_000,
        max_rate_bps=1_000_000,
        bandwidth_bps=10_485_760,
        max_lifetime_s=86400.0,
        max_total_payload=10**9,
    )
    assert "at most 10 MiB/s together" in portway("token", "list").stdout
    (shown,) = json.loads(portway("token", "list", "--json").stdout)
    assert shown["limits"]["max_rate_bps"] == 1_000_000


def test_without_a_server_nothing_is_created_and_the_error_says_what_to_do(portway: Portway, home: Path) -> None:
    for args in (("create", "laptop"), ("create", "laptop", "--advertise", "example.org:4443"), ("list",), ("revoke", "laptop")):
        done = portway("token", *args, "--data", str(home / "new"))
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith(f"portway: data: no server has used {home / 'new'} yet. If the server runs as another user, ")
        assert all(word in done.stderr for word in ("sudo -u USER", "--data DIR", "PORTWAY_DATA", "--init"))
    assert portway("token", "list", env={"PORTWAY_DATA": str(home / "other")}).exit_code == 2
    assert portway("token", "create", "laptop", "--out", str(home / "join")).exit_code == 2
    assert not [path for path in (home / "new", home / "other", home / "join", data(home)) if path.exists()]


def test_listing_tokens_changes_nothing(portway: Portway, home: Path) -> None:
    portway("token", "create", "laptop", "--init")
    portway("token", "revoke", "laptop")
    before = {path.name: path.read_bytes() for path in data(home).iterdir()}

    assert "revoked" in portway("token", "list").stdout
    assert {path.name: path.read_bytes() for path in data(home).iterdir()} == before


def test_an_empty_list_says_how_to_create_a_token(portway: Portway, home: Path) -> None:
    open_state(ServerSettings(data=data(home))).store.close()

    assert portway("token", "list").stderr == "No tokens yet; create one with `portway token create NAME`.\n"
    assert portway("token", "list", "--json").stdout == "[]\n"


def test_a_join_string_is_written_to_a_new_file(portway: Portway, home: Path) -> None:
    shared = home / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    done = portway("token", "create", "laptop", "--init", "--out", str(shared / "join"))
    join = parse((shared / "join").read_text())

    assert (done.exit_code, done.stdout) == (0, "")
    assert f"Join string saved to {shared / 'join'}." in done.stderr
    assert join.secret not in done.stderr
    assert [stat.S_IMODE(path.stat().st_mode) for path in (shared / "join", shared)] == [0o600, 0o755]
    assert json.loads(portway("token", "list", "--json").stdout)[0]["id"] == join.token_id


def test_existing_files_and_links_are_not_replaced_and_no_token_is_created(portway: Portway, home: Path) -> None:
    victim = home / "victim"
    victim.write_text("untouched")
    (home / "link").symlink_to(victim)
    portway("token", "create", "phone", "--init")
    for file in (victim, home / "link"):
        done = portway("token", "create", "laptop", "--out", str(file))
        assert (done.exit_code, done.stdout) == (2, "")
        assert f"--out: {file} already exists" in done.stderr
    assert victim.read_text() == "untouched"
    assert portway("token", "create", "laptop", "--out", str(home / "nowhere" / "join")).exit_code == 2
    assert len(json.loads(portway("token", "list", "--json").stdout)) == 1


def test_a_token_that_cannot_be_created_leaves_no_join_string(portway: Portway, home: Path) -> None:
    portway("token", "create", "laptop", "--init")
    done = portway("token", "create", "laptop", "--out", str(home / "join"))

    assert done.exit_code == 2
    assert "already exists" in done.stderr
    assert not (home / "join").exists()


def test_the_error_for_a_foreign_data_directory_names_its_owner(portway: Portway, home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be two users")
    assert portway("token", "create", "laptop", "--init").exit_code == 0
    for path in (data(home), *data(home).iterdir()):
        os.chown(path, 65534, 65534)
    for args in (("create", "phone"), ("list",), ("revoke", "laptop")):
        done = portway("token", *args)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "belongs to user 65534, not to you (0); run this as that user (sudo -u '#65534' …)" in done.stderr
