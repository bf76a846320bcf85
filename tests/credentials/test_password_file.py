"""Files of users, old and new."""

from pathlib import Path

import pytest

from portway.credentials.password_file import HEADER, PROXY_USERS, read_users, remove_user, set_user
from portway.errors import ConfigError

HASH = "$scrypt$ln=15,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
OTHER = HASH.replace("AAEC", "BBEC")


def test_comments_and_other_lines_stay(tmp_path: Path) -> None:
    file = tmp_path / "users.txt"
    file.write_text(f"# team\nann:{HASH}\n\n#bob:{HASH}\nbob:{HASH}")
    file.chmod(0o600)
    assert not set_user(file, "ann", OTHER)
    assert set_user(file, "eve", HASH)
    assert file.read_text() == f"# team\nann:{OTHER}\n\n#bob:{HASH}\nbob:{HASH}\neve:{HASH}\n"
    remove_user(file, "bob")
    assert file.read_text() == f"# team\nann:{OTHER}\n\n#bob:{HASH}\neve:{HASH}\n"


def test_a_new_file_has_a_header(tmp_path: Path) -> None:
    assert set_user(tmp_path / "users.txt", "ann", HASH)
    assert (tmp_path / "users.txt").read_text() == f"{HEADER}ann:{HASH}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ann", "line 1: invalid: expected USER:HASH"),
        (f"# x\nann:{HASH}\nbob:$2y$10$abc", "line 3: user 'bob': unknown password hash"),
        (f"ann:{HASH}\nann:{HASH}", "repeated user name 'ann'"),
        ("\n".join(f"user{number}:{HASH}" for number in range(129)), "too many users (129)"),
        ("\udcff", "expected UTF-8"),
    ],
)
def test_an_invalid_file_is_an_error_and_stays(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "users.txt"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    file.chmod(0o600)
    for use in (lambda: read_users(file), lambda: set_user(file, "eve", HASH)):
        with pytest.raises(ConfigError) as raised:
            use()
        assert message in str(raised.value)
    assert file.read_bytes() == text.encode("utf-8", "surrogateescape")


def test_a_file_that_others_can_read_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "users.txt"
    file.write_text(f"ann:{HASH}\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_users(file)


def test_a_file_of_proxy_users_has_its_own_header_and_bound(tmp_path: Path) -> None:
    file = tmp_path / "users.txt"
    with pytest.raises(ConfigError, match=r"not found; `portway proxy user add USER` creates it"):
        read_users(file, kind=PROXY_USERS)
    assert set_user(file, "ann", HASH, PROXY_USERS)
    assert file.read_text().startswith("# Users of `portway proxy`.")
    file.write_text("".join(f"user{number}:{HASH}\n" for number in range(500)))
    assert len(read_users(file, kind=PROXY_USERS)) == 500
    with pytest.raises(ConfigError, match="too many users \\(501\\)"):
        set_user(file, "ann", HASH, PROXY_USERS)
    remove_user(file, "user7", PROXY_USERS)
    assert len(read_users(file, kind=PROXY_USERS)) == 499
