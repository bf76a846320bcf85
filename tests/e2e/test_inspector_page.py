"""The inspector's page in a real browser: what a user sees and does, and what captured content cannot do."""

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from tests.e2e.world import World
from tests.kit.browser import Tab, browser_tab
from tests.kit.programs import Program
from tests.kit.sockets import free_port

ROWS = "document.querySelectorAll('.row').length"
XSS = '<script>document.title = "owned"</script><img src=x onerror="document.title = \'owned\'">'


class Shop(http.server.BaseHTTPRequestHandler):
    """Answers by path, and records what it got."""

    protocol_version = "HTTP/1.1"
    got: ClassVar[list[tuple[str, str, bytes]]] = []

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.got.append((self.command, self.path, body))
        status, kind, answer = 200, "application/json", json.dumps({"path": self.path, "ok": True}).encode()
        if self.path.startswith("/broken"):
            status, answer = 500, b'{"error": oops}'
        elif self.path.startswith("/page"):
            kind, answer = "text/html", XSS.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("X-Note", XSS if self.path.startswith("/page") else "plain")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 - the names that http.server looks for


@dataclass
class Stage:
    """A tunnel whose requests are captured, and a tab that shows them."""

    world: World
    agent: Program
    tab: Tab
    page: str

    def visit(self, path: str, method: str = "GET", body: bytes | None = None) -> None:
        assert self.world.visit("shop", path, method=method, body=body).status in (200, 500)


@pytest.fixture
def stage() -> Iterator[Stage]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    Shop.got.clear()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with World() as world, browser_tab() as tab:
            world.start_server()
            words = ("http", str(server.server_address[1]), "--name", "shop", "--inspect", f"127.0.0.1:{free_port()}")
            agent = world.agent(world.token(), *words, as_json=False)
            agent.expect("http://shop.localhost")
            url = json.loads(world.run("inspect", "--json", tells_secrets=True).out)[0]["page_url"]
            tab.view(1280, 800)
            tab.open(url)
            yield Stage(world, agent, tab, url)
            assert tab.errors == []
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_requests_appear_live_are_filtered_shown_and_replayed(stage: Stage, tmp_path: Path) -> None:
    tab = stage.tab
    tab.until("document.querySelector('.empty')?.innerText.includes('No requests yet')")
    assert "key=" not in tab.run("location.href"), "the key is exchanged for a cookie"
    for number in range(3):
        stage.visit(f"/items?page={number}")
    stage.visit("/broken")
    stage.visit("/orders", "POST", b'{"order": 42}')
    tab.until(f"{ROWS} === 5")
    assert tab.run("document.querySelector('.row').innerText").split()[:3] == ["POST", "200", "/orders"], "newest first"
    tab.screenshot(tmp_path / "list.png")

    tab.run("document.activeElement.blur()")
    tab.press("/")
    tab.type_into("input[type=search]", "status:5xx")
    tab.until(f"{ROWS} === 1")
    tab.click(".row")
    tab.until("document.querySelector('.detail h2')?.innerText === 'GET /broken'")
    tab.click("[role=tab]:nth-child(3)")
    tab.until("document.querySelector('.detail .bad')?.innerText === 'Invalid JSON: unexpected \"o\" in line 1, column 11'")

    tab.type_into("input[type=search]", "method:POST")
    tab.until("document.querySelector('.row').innerText.includes('POST')")
    tab.run("document.activeElement.blur()")
    tab.press("j")
    tab.until("document.querySelector('.detail h2')?.innerText === 'POST /orders'")
    tab.press("r")
    tab.until(f"{ROWS} === 2")
    tab.until("document.querySelector('.row[aria-selected=true]').innerText.includes('↻')")
    assert Shop.got[-1] == ("POST", "/orders", b'{"order": 42}')

    tab.press("e")
    tab.type_into(".form .two label:nth-child(2) input", "/orders/edited")
    tab.run(
        "(() => { const element = document.querySelectorAll('.form textarea')[1]; element.value = '{\"order\": 43}';"
        " element.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )
    tab.click(".form button.primary")
    tab.until(f"{ROWS} === 3")
    assert Shop.got[-1] == ("POST", "/orders/edited", b'{"order": 43}')

    tab.until("document.querySelectorAll('.row input').length === 3")
    for number in (1, 2):
        tab.click(f".row:nth-child({number}) input")
    tab.click(".tools > button:not([disabled])")
    tab.until("[...document.querySelectorAll('.diff ins')].some((line) => line.innerText.includes('POST /orders/edited'))")
    tab.screenshot(tmp_path / "compare.png")
    tab.press("Escape")
    tab.until("document.querySelector('.diff') === null")


def test_captured_content_is_text_in_every_place(stage: Stage) -> None:
    tab = stage.tab
    stage.visit("/page?q=%3Cimg%20src=x%20onerror=alert(1)%3E")
    stage.visit("/orders", "POST", XSS.encode())
    tab.until(f"{ROWS} === 2")
    for row in (1, 2):
        tab.click(f".row:nth-child({row})")
        for number in (1, 2, 3):
            tab.click(f"[role=tab]:nth-child({number})")
            tab.run("new Promise((done) => setTimeout(done, 100))")
            for form in range(3):
                tab.run(f"document.querySelectorAll('.detail [aria-pressed]')[{form}]?.click()")
                tab.run("new Promise((done) => setTimeout(done, 50))")
    assert tab.run("document.title") == "Portway inspector"
    assert tab.run("document.querySelectorAll('#app script, #app .detail img').length") == 0
    assert tab.run("document.querySelector('.detail').innerText.includes('onerror')")


def test_the_page_says_that_the_agent_is_gone_and_continues_when_it_is_back(stage: Stage) -> None:
    tab = stage.tab
    stage.visit("/items")
    tab.until(f"{ROWS} === 1")
    stage.agent.stop()
    tab.until("document.querySelector('.notice')?.innerText.includes('The connection to the agent is lost')")
    tab.errors.clear()  # the browser reports each failed request


@pytest.mark.parametrize(("width", "height", "dark"), [(360, 740, False), (800, 600, True), (2560, 1440, False)])
def test_it_fits_screens_from_a_phone_to_a_wall(stage: Stage, tmp_path: Path, width: int, height: int, dark: bool) -> None:
    tab = stage.tab
    tab.view(width, height, dark=dark)
    stage.visit("/items?" + "long=" + "x" * 300)
    tab.until(f"{ROWS} === 1")
    tab.click(".row")
    tab.until("document.querySelector('.detail h2') !== null")
    assert tab.run("document.documentElement.scrollWidth") <= width
    luminance = tab.run(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((sum, one) => sum + Number(one), 0)"
    )
    assert (luminance < 380) == dark
    tab.screenshot(tmp_path / f"{width}.png")


def test_ten_thousand_rows_are_a_few_dozen_elements(stage: Stage) -> None:
    tab = stage.tab
    stage.visit("/items")
    tab.until(f"{ROWS} === 1")
    tab.run(
        "(async () => { const { html, render } = await import('/assets/htm-preact.js'); const { List } = await import('/assets/list.js');"
        " const rows = Array.from({ length: 10000 }, (_, id) => ({ id, method: 'GET', target: '/' + id, state: 'done', status: 200,"
        " duration_ms: 1, response_bytes: 1, started_at: 1, kind: 'http', tunnel: 't' }));"
        " const box = document.createElement('div'); box.id = 'many'; box.style.height = '500px'; box.style.display = 'grid'; document.body.append(box);"
        " const none = () => {}; render(html`<${List} rows=${rows} selected=${null} marked=${[]} onSelect=${none} onMark=${none} onEnd=${none} />`, box); })()"
    )
    tab.until("document.querySelectorAll('#many .row').length > 5")
    tab.run("document.querySelector('#many .list').scrollTop = 180000")
    tab.until("document.querySelector('#many .row[data-id=\"5004\"]') !== null")
    assert tab.run("document.querySelectorAll('#many .row').length") < 60
