"""`--via`: which targets are reached through which proxy."""

import pytest

from portway.errors import ConfigError
from portway.forward.connect.via import ROUTES_MAX, read_routes
from portway.protocol.proxy_url import ProxyUrl


def test_routes_keep_their_order() -> None:
    first, second, third, last = read_routes(
        "*.corp.example=direct\nre:a=b.*:22=socks5://tor:9050\n10.0.0.0/8=https://ann:p%3Dw@gate\n\nproxy.example:3128\n"
    )
    assert (first.pattern.text, first.proxy) == ("*.corp.example", None)
    assert (second.pattern.text, second.proxy) == ("re:a=b.*:22", ProxyUrl("socks5", "tor", 9050))
    assert (third.pattern.text, third.proxy) == ("10.0.0.0/8", ProxyUrl("https", "gate", 443, b"ann", b"p=w"))
    assert (last.pattern.text, last.proxy) == ("*", ProxyUrl("http", "proxy.example", 3128))


@pytest.mark.parametrize(
    "text", ["ftp://ann:S3cret@x", "a b=http://ann:S3cret@x", "*=", "x=http://ann:S3cret@x:0", "proxy:1\n" * (ROUTES_MAX + 1)]
)
def test_invalid_routes_are_refused_without_credentials(text: str) -> None:
    with pytest.raises(ConfigError) as failure:
        read_routes(text)
    assert "S3cret" not in str(failure.value)
