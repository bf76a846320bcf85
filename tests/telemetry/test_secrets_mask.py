"""Secrets are masked by value and by pattern."""

from pathlib import Path

from portway.telemetry.secrets_mask import SecretsMask

JOIN = "portway://abc.S3cretS3cretS3cretS3cret@example.org:4443?pin=sha256:00"


def test_the_secret_of_a_join_string_is_masked() -> None:
    assert SecretsMask()(f"bad {JOIN}.") == "bad portway://abc.•••@example.org:4443?pin=sha256:00."


def test_the_secret_of_a_join_string_parsed_as_a_path_is_masked() -> None:
    assert SecretsMask()(f"{Path(JOIN)} does not exist") == "portway:/abc.•••@example.org:4443?pin=sha256:00 does not exist"


def test_the_documented_form_of_a_join_string_stays_readable() -> None:
    form = "expected portway://ID.SECRET@HOST:PORT?pin=sha256:HEX"
    assert SecretsMask()(form) == form


def test_authorisation_headers_are_masked() -> None:
    mask = SecretsMask()

    assert mask("Authorization: Bearer abcdefgh.ijk") == "Authorization: Bearer •••"
    assert mask("authorization: basic dXNlcjpwYXNz") == "authorization: basic •••"
    assert mask("a basic idea") == "a basic idea"


def test_a_registered_secret_is_masked_everywhere() -> None:
    mask = SecretsMask()
    mask.hide("S3cretS3cret")

    assert mask("x=S3cretS3cret, again S3cretS3cret") == "x=•••, again •••"
    assert "S3cret" not in repr(mask)


def test_short_texts_are_not_masked() -> None:
    mask = SecretsMask()
    mask.hide("abc")

    assert mask("abc") == "abc"
