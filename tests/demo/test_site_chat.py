"""Messages reach all pages, and no page can block or flood the others."""

import pytest

from portway.demo.site_chat import (
    PARTICIPANTS_MAX,
    TEXT_CHARS_MAX,
    ChatRoom,
    Echo,
    Hello,
    Participant,
    Participants,
    Post,
    Posted,
    SiteMessage,
    decode,
    encode,
)


def queued(participant: Participant) -> list[SiteMessage | None]:
    messages = []
    while not participant.outbox.empty():
        messages.append(participant.outbox.get_nowait())
    return messages


def join(chat: ChatRoom) -> Participant:
    participant = chat.join()
    assert participant is not None
    return participant


def test_participants_get_their_name_and_the_number_of_pages() -> None:
    chat = ChatRoom()
    first, second = join(chat), join(chat)
    assert queued(first) == [Hello("visitor 1"), Participants(1), Participants(2)]
    assert queued(second) == [Hello("visitor 2"), Participants(2)]
    chat.leave(second)
    chat.leave(second)
    assert queued(first) == [Participants(1)]


def test_a_message_reaches_all_pages() -> None:
    chat = ChatRoom()
    first, second = join(chat), join(chat)
    queued(first), queued(second)
    assert chat.post(first, "  ahoy \n there ", now=0.0)
    assert queued(first) == queued(second) == [Posted("visitor 1", "ahoy there")]


def test_empty_and_too_frequent_messages_are_dropped() -> None:
    chat = ChatRoom()
    participant = join(chat)
    assert not chat.post(participant, " \t ", now=0.0)
    assert chat.post(participant, "one", now=0.0)
    assert not chat.post(participant, "two", now=0.1)
    assert chat.post(participant, "three", now=0.3)


def test_long_messages_are_cut() -> None:
    chat = ChatRoom()
    participant = join(chat)
    queued(participant)
    chat.post(participant, "x" * 1000, now=0.0)
    assert queued(participant) == [Posted("visitor 1", "x" * TEXT_CHARS_MAX)]


def test_a_full_chat_rejects_new_pages() -> None:
    chat = ChatRoom()
    participants = [join(chat) for _ in range(PARTICIPANTS_MAX)]
    assert chat.join() is None
    chat.leave(participants[0])
    assert chat.join() is not None


def test_a_stalled_page_is_disconnected_and_blocks_no_other() -> None:
    chat = ChatRoom()
    stalled, reader = join(chat), join(chat)
    for second in range(200):
        chat.post(reader, "hello", now=float(second))
        queued(reader)
    assert None in queued(stalled)


@pytest.mark.parametrize("frame", ["", "nonsense", "[]", '{"t":"shout"}', '{"t":"echo"}', '{"t":"post","text":7}', '{"t":"echo","n":"1"}'])
def test_an_invalid_frame_is_none(frame: str) -> None:
    assert decode(frame) is None


def test_valid_frames_are_decoded() -> None:
    assert decode('{"t":"echo","n":4}') == Echo(4)
    assert decode('{"t":"post","text":"hi"}') == Post("hi")
    assert encode(Echo(4)) == '{"t":"echo","n":4}'
