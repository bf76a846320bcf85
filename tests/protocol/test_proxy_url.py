"""URLs of proxies: what they mean, and that no text about them contains credentials."""

import pytest

from portway.errors import ConfigError
from portway.protocol.proxy_url import ProxyUrl, parse_proxy_url


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy.example.org:3128", ProxyUrl("http", "proxy.example.org", 3128)),
        ("http://proxy/", ProxyUrl("http", "proxy", 80)),
        ("proxy.local:8080", ProxyUrl("http", "proxy.local", 8080)),
        ("HTTPS://Proxy.Example", ProxyUrl("https", "proxy.example", 443)),
        ("socks5://10.0.0.1", ProxyUrl("socks5", "10.0.0.1", 1080)),
        ("socks5h://[::1]:9050", ProxyUrl("socks5", "::1", 9050)),
        ("http://ann:p%40ss%3Aw@proxy:1", ProxyUrl("http", "proxy", 1, b"ann", b"p@ss:w")),
        ("http://ann@proxy:1", ProxyUrl("http", "proxy", 1, b"ann")),
    ],
)
def test_a_url_names_a_proxy(text: str, proxy: ProxyUrl) -> None:
    assert parse_proxy_url(text, "--proxy") == proxy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "http://:8080",
        "http://proxy:0",
        "http://proxy:65536",
        "http://proxy:80/path",
        "ftp://proxy",
        "socks4://proxy",
        "http://a b:1",
        "http://ann:S3cret%0d%0aX@proxy",
        "http://:S3cret@proxy",
        "http://a:S3cret@b:S3cret@proxy",
        f"http://ann:S3cret{'x' * 255}@proxy",
    ],
)
def test_an_invalid_url_is_refused_without_its_credentials(text: str) -> None:
    with pytest.raises(ConfigError, match="^HTTPS_PROXY: ") as failure:
        parse_proxy_url(text, "HTTPS_PROXY")
    assert "S3cret" not in str(failure.value)


def test_texts_do_not_contain_credentials() -> None:
    proxy = parse_proxy_url("http://someone:S3cret@[::1]:8080", "--proxy")
    assert str(proxy) == "http://[::1]:8080"
    assert "someone" not in repr(proxy)
    assert "S3cret" not in repr(proxy)


def test_credentials_come_from_a_file_too() -> None:
    proxy = parse_proxy_url("proxy:1", "--proxy").with_credentials(b"ann:p:w", "auth")
    assert (proxy.user, proxy.password, proxy.has_credentials) == (b"ann", b"p:w", True)
    for text in (b"ann", b":p", b"ann:" + b"p" * 256, b"a\nb:p"):
        with pytest.raises(ConfigError, match="^auth: "):
            proxy.with_credentials(text, "auth")
