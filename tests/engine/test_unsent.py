"""What the kernel still holds of a socket's bytes."""

import sys

import pytest

from portway.engine.unsent import unsent_bytes
from tests.kit.sockets import read_exactly, tcp_pair

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")


@linux
def test_it_counts_what_is_on_its_way_and_ends_at_nothing() -> None:
    near, far = tcp_pair(16 * 1024)
    near.setblocking(False)
    sent = 0
    try:
        while True:
            sent += near.send(bytes(64 * 1024))
    except BlockingIOError:
        pass
    held = unsent_bytes(near)
    assert held is not None
    assert 0 < held <= sent
    assert len(read_exactly(far, sent)) == sent
    assert unsent_bytes(near) == 0
    near.close()
    far.close()


def test_of_a_closed_socket_nothing_is_known() -> None:
    near, far = tcp_pair()
    near.close()
    far.close()
    with pytest.raises(ValueError, match="file descriptor"):
        unsent_bytes(near)
