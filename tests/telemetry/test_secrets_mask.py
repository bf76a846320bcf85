"""Secrets are masked by what they are and by how they look."""

from pathlib import Path

from portway.telemetry.secrets_mask import SecretsMask

JOIN = "portway://abc.S3cretS3cretS3cretS3cret@example.org:4443?pin=sha256:00"


def test_a_join_string_loses_its_secret_and_keeps_the_rest() -> None:
    assert SecretsMask()(f"bad {JOIN}.") == "bad portway://abc.•••@example.org:4443?pin=sha256:00."


def test_a_join_string_that_was_taken_for_a_path_loses_its_secret_too() -> None:
    assert SecretsMask()(f"{Path(JOIN)} is not there") == "portway:/abc.•••@example.org:4443?pin=sha256:00 is not there"


def test_advice_on_how_a_join_string_looks_stays_readable() -> None:
    advice = "expected portway://ID.SECRET@HOST:PORT?pin=sha256:HEX"
    assert SecretsMask()(advice) == advice


def test_authorisation_headers_lose_their_value() -> None:
    mask = SecretsMask()

    assert mask("Authorization: Bearer abcdefgh.ijk") == "Authorization: Bearer •••"
    assert mask("authorization: basic dXNlcjpwYXNz") == "authorization: basic •••"
    assert mask("a basic idea") == "a basic idea"


def test_a_secret_that_was_hidden_is_masked_wherever_it_comes_up() -> None:
    mask = SecretsMask()
    mask.hide("S3cretS3cret")

    assert mask("x=S3cretS3cret, again S3cretS3cret") == "x=•••, again •••"
    assert "S3cret" not in repr(mask)


def test_short_words_are_no_secrets() -> None:
    mask = SecretsMask()
    mask.hide("abc")

    assert mask("abc") == "abc"
