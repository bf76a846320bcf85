"""Hashes of passwords: parameters within bounds, and the PHC string format."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import ConfigError
from portway.protocol.password_hash import PasswordHash, hash_password, parse_password_hash

SALT = bytes(range(16))


def test_a_hash_is_scrypt_as_the_standard_library_computes_it() -> None:
    hashed = hash_password("gär".encode(), SALT)
    assert hashed.digest == hashlib.scrypt("gär".encode(), salt=SALT, n=1 << 15, r=8, p=1, maxmem=1 << 26, dklen=32)
    assert str(hashed).startswith("$scrypt$ln=15,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$")
    assert hashed.matches("gär".encode())
    assert not hashed.matches(b"gar")
    assert "digest" not in repr(hashed)


@given(salt=st.binary(min_size=9, max_size=64), digest=st.binary(min_size=17, max_size=64), log_n=st.just(14), lanes=st.integers(1, 4))
def test_text_and_back(salt: bytes, digest: bytes, log_n: int, lanes: int) -> None:
    hashed = PasswordHash(log_n, 8, lanes, salt, digest)
    assert parse_password_hash(str(hashed)) == hashed


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("ln=13,r=8,p=1", "weak"),
        ("ln=15,r=0,p=1", "weak or invalid"),
        ("ln=99,r=8,p=1", "weak or invalid"),
        ("ln=16,r=8,p=1", "expensive"),
        ("ln=20,r=1,p=1", "expensive"),
        ("ln=15,r=8,p=3", "expensive"),
        ("ln=14,r=999,p=1", "expensive"),
        ("ln=14,r=8,p=999", "expensive"),
        ("ln=14,r=8", "unknown"),
    ],
)
def test_parameters_out_of_bounds_are_errors(parameters: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_password_hash(f"$scrypt${parameters}$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "$2y$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyz01234",
        "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
        "$scrypt$ln=15,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$short",
        "$scrypt$ln=15,r=8,p=1$AAECAwQFBgcIC$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",  # 13 characters are no base64
        "$scrypt$ln=\u0661\u0665,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
    ],
)
def test_other_hashes_are_errors(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_password_hash(text)


@given(st.text(max_size=100) | st.from_regex(r"\$scrypt\$ln=\d*,r=\d*,p=\d*\$[A-Za-z0-9+/]*\$[A-Za-z0-9+/]*", fullmatch=True))
def test_noise_is_an_error_or_a_bounded_hash(text: str) -> None:
    try:
        hashed = parse_password_hash(text)
    except ConfigError:
        return
    assert 128 * hashed.block << hashed.log_n <= 1 << 25
