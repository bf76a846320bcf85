"""The page itself."""

from portway.protocol.http1.error_html import render_page


def test_the_path_of_the_request_shows_where_it_ended() -> None:
    def reached(code: str) -> int:
        page = render_page(502, "T", "x", "y", code).decode()
        return page.count("<li>")

    assert reached("unknown_host") == 2
    assert reached("agent_offline") == 2
    assert reached("origin_unreachable") == 3


def test_every_text_is_escaped() -> None:
    page = render_page(400, "<t>", "<x>", "<n>", "<c>")
    for text in (b"<t>", b"<x>", b"<n>", b"<c>"):
        assert text not in page
