"""Socket options of links."""

import socket

from portway.links.sockets import UNSENT_BYTES_MAX, configure_link_socket
from tests.kit.sockets import tcp_pair


def test_a_link_has_no_delay_and_little_unsent_data_in_the_kernel() -> None:
    near, far = tcp_pair()
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    configure_link_socket(near)
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT_BYTES_MAX
    near.close()
    far.close()
