"""The codes of refusals: stable, and each with a meaning."""

from portway.protocol.control import codes


def test_every_code_has_a_meaning_and_every_meaning_a_code() -> None:
    constants = {value for name, value in vars(codes).items() if name.isupper() and isinstance(value, str)}
    assert constants == set(codes.DESCRIPTIONS)


def test_a_constant_is_called_as_its_code() -> None:
    for name, value in vars(codes).items():
        if name.isupper() and isinstance(value, str):
            assert value == name.lower()


def test_the_codes_are_stable() -> None:
    known = """
    bad_credentials token_revoked token_expired wrong_pin wrong_certificate version_unsupported name_taken name_in_use invalid_name invalid_field invalid_access access_unsupported reserved_name
    host_not_allowed port_not_allowed protocol_not_allowed too_many_tunnels port_taken no_free_port bad_ticket misdirected replaced draining
    bad_message not_logged_in too_many_logins speed_test_off speed_test_busy speed_test_too_large
    """
    assert set(codes.DESCRIPTIONS) == set(known.split())
