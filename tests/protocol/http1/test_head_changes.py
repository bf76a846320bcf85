"""Which changes of heads a server carries out, and which it refuses."""

import pytest

from portway.errors import RefusedError
from portway.protocol.control.codes import INVALID_FIELD
from portway.protocol.control.messages import HeadRewrite
from portway.protocol.http1.head_changes import check_rewrite, rewriter_of


@pytest.mark.parametrize(
    "rewrite",
    [
        HeadRewrite(host="localhost:3000"),
        HeadRewrite(host="[::1]:3000", scheme="https"),
        HeadRewrite(request=[("Authorization", "Bearer x"), ("Cookie", None)], response=[("X-Name", "Jörg")]),
    ],
)
def test_a_valid_rewrite_is_applied(rewrite: HeadRewrite) -> None:
    check_rewrite(rewrite)
    assert rewriter_of("a.localhost", "localhost", rewrite).changes_requests


@pytest.mark.parametrize(
    "rewrite",
    [
        HeadRewrite(host="two words"),
        HeadRewrite(host="a\r\nX: 1"),
        HeadRewrite(request=[("Host", "x")]),
        HeadRewrite(request=[("content-LENGTH", "5")]),
        HeadRewrite(request=[("Transfer-Encoding", None)]),
        HeadRewrite(request=[("X-Forwarded-For", "1.2.3.4")]),
        HeadRewrite(request=[("X Y", "1")]),
        HeadRewrite(request=[("", "1")]),
        HeadRewrite(request=[("X", "a\r\nY: b")]),
        HeadRewrite(request=[("X", "€")]),
        HeadRewrite(request=[("X", " padded")]),
        HeadRewrite(response=[("Connection", "close")]),
        HeadRewrite(response=[("Portway-Error", "x")]),
    ],
)
def test_fields_of_the_server_and_invalid_fields_are_refused(rewrite: HeadRewrite) -> None:
    with pytest.raises(RefusedError) as refused:
        check_rewrite(rewrite)
    assert refused.value.code == INVALID_FIELD


def test_values_are_not_shown() -> None:
    assert "secret" not in repr(HeadRewrite(request=[("Authorization", "secret")]))
