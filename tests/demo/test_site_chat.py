"""Everybody in the room hears everybody, and nobody can hold up or flood the others."""

import pytest

from portway.demo.site_chat import GUESTS_MAX, TEXT_CHARS_MAX, ChatRoom, Echo, Hello, Participant, People, Said, Say, Told, decode, encode


def told(guest: Participant) -> list[Told | None]:
    heard = []
    while not guest.outbox.empty():
        heard.append(guest.outbox.get_nowait())
    return heard


def enter(chat: ChatRoom) -> Participant:
    guest = chat.enter()
    assert guest is not None
    return guest


def test_a_guest_is_greeted_and_everybody_hears_how_many_there_are() -> None:
    chat = ChatRoom()
    first, second = enter(chat), enter(chat)
    assert told(first) == [Hello("visitor 1"), People(1), People(2)]
    assert told(second) == [Hello("visitor 2"), People(2)]
    chat.leave(second)
    chat.leave(second)
    assert told(first) == [People(1)]


def test_what_one_says_everybody_hears() -> None:
    chat = ChatRoom()
    first, second = enter(chat), enter(chat)
    told(first), told(second)
    assert chat.say(first, "  ahoy \n there ", now=0.0)
    assert told(first) == told(second) == [Said("visitor 1", "ahoy there")]


def test_empty_words_and_words_too_fast_are_dropped() -> None:
    chat = ChatRoom()
    guest = enter(chat)
    assert not chat.say(guest, " \t ", now=0.0)
    assert chat.say(guest, "one", now=0.0)
    assert not chat.say(guest, "two", now=0.1)
    assert chat.say(guest, "three", now=0.3)


def test_long_words_are_cut() -> None:
    chat = ChatRoom()
    guest = enter(chat)
    told(guest)
    chat.say(guest, "x" * 1000, now=0.0)
    assert told(guest) == [Said("visitor 1", "x" * TEXT_CHARS_MAX)]


def test_a_full_room_lets_nobody_in() -> None:
    chat = ChatRoom()
    guests = [enter(chat) for _ in range(GUESTS_MAX)]
    assert chat.enter() is None
    chat.leave(guests[0])
    assert chat.enter() is not None


def test_who_does_not_read_is_shown_out_and_holds_up_nobody() -> None:
    chat = ChatRoom()
    deaf, keen = enter(chat), enter(chat)
    for second in range(200):
        chat.say(keen, "hello", now=float(second))
        told(keen)
    assert None in told(deaf)


@pytest.mark.parametrize("frame", ["", "nonsense", "[]", '{"t":"shout"}', '{"t":"echo"}', '{"t":"say","text":7}', '{"t":"echo","n":"1"}'])
def test_a_frame_that_is_none_of_ours_is_none(frame: str) -> None:
    assert decode(frame) is None


def test_the_pages_frames_are_understood() -> None:
    assert decode('{"t":"echo","n":4}') == Echo(4)
    assert decode('{"t":"say","text":"hi"}') == Say("hi")
    assert encode(Echo(4)) == '{"t":"echo","n":4}'
