"""Values that the stages of the forward proxy exchange."""

from portway.forward.interfaces import Target


def test_a_target_is_written_as_in_a_request_line() -> None:
    assert [str(Target("example.org", 443)), str(Target("2001:db8::1", 80))] == ["example.org:443", "[2001:db8::1]:80"]
