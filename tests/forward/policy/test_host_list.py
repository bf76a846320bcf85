from hypothesis import given
from hypothesis import strategies as st

from portway.forward.policy.host_list import BUCKETS, HostList

KEY = b"k" * 16
LABEL = st.text("abc", min_size=1, max_size=2)
NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join)


def host_list(*names: str) -> HostList:
    found = HostList(KEY)
    for name in names:
        found.add(name.encode())
    for number in range(BUCKETS):
        found.finish_bucket(number)
    return found


def test_a_name_stands_for_itself_and_all_below() -> None:
    found = host_list("ads.example", "tracker.test")

    assert found.matches("ads.example")
    assert found.matches("x.y.ads.example")
    assert not found.matches("example")
    assert not found.matches("badads.example")
    assert not found.matches("ads.example.org")


def test_an_address_matches_as_a_whole() -> None:
    found = host_list("192.0.2.7", "7", "0.2.8")

    assert found.matches("192.0.2.7")
    assert not found.matches("192.0.2.8")
    assert not found.matches("198.51.100.7")
    assert not found.matches("::7")


def test_repeated_names_count_once() -> None:
    assert host_list("a.example", "b.example", "a.example").count == 2


@given(st.lists(NAME, max_size=20), NAME)
def test_a_list_has_what_a_plain_search_finds(names: list[str], host: str) -> None:
    assert host_list(*names).matches(host) == any(host == name or host.endswith("." + name) for name in names)
