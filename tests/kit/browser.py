"""Debian's Chromium without a window, driven by its debugging protocol over a WebSocket. Skips the test where it is missing."""

import base64
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.kit.programs import Program

START_S = 60.0
DEADLINE_S = 20.0
MESSAGE_BYTES_MAX = 64 << 20


class Tab:
    """One page."""

    def __init__(self, socket: ClientConnection) -> None:
        self.errors: list[str] = []
        """Uncaught exceptions and console errors."""
        self._socket = socket
        self._last_id = 0
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._last_id += 1
        self._socket.send(json.dumps({"id": self._last_id, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(DEADLINE_S))
            if message.get("id") == self._last_id:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._record(message)

    def _record(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])

    def view(self, width: int, height: int, *, dark: bool = False) -> None:
        """Set the size of the window, and its colours."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def open(self, url: str) -> None:
        """Navigate."""
        self.send("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Evaluate an expression, or wait for a promise; return its value."""
        found = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script: str) -> Any:
        """Evaluate an expression until its value is true, and return that."""
        end = time.monotonic() + DEADLINE_S
        while True:
            value = self.run(script)
            if value:
                return value
            assert time.monotonic() < end, (
                f"{script} stayed {value!r}; errors: {self.errors}; page: {self.run('document.body.innerText')[:2000]}"
            )
            time.sleep(0.05)

    def press(self, *keys: str) -> None:
        """Press keys one after another, where the focus is."""
        for key in keys:
            text = {"text": key} if len(key) == 1 else {}
            self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
            self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, selector: str) -> None:
        """Click the first element that matches, once it is there."""
        found = json.dumps(selector)
        self.until(f"document.querySelector({found}) !== null")
        self.run(f"document.querySelector({found}).click()")

    def type_into(self, selector: str, text: str) -> None:
        """Replace the value of an input."""
        self.until(f"document.querySelector({json.dumps(selector)}) !== null")
        self.run(
            f"(() => {{ const element = document.querySelector({json.dumps(selector)}); element.value = {json.dumps(text)};"
            " element.dispatchEvent(new Event('input', { bubbles: true })); })()"
        )

    def screenshot(self, path: Path) -> None:
        """Write a picture of the window."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser_tab() -> Iterator[Tab]:
    """Start Chromium with a fresh profile, and yield its tab."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    with tempfile.TemporaryDirectory(prefix="pw-", ignore_cleanup_errors=True) as profile:
        flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-proxy-server", "--remote-debugging-port=0")
        env = {"PATH": os.environ["PATH"], "HOME": profile}
        with Program(
            [chromium, *flags, f"--user-data-dir={profile}", "about:blank"], env=env, inherit_env=False, name="chromium"
        ) as program:
            port = int(program.expect(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/", START_S, stream="err")[1])
            with connect(_page_address(port), max_size=MESSAGE_BYTES_MAX, proxy=None) as socket:
                yield Tab(socket)


def _page_address(port: int) -> str:
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        with opener.open(f"http://127.0.0.1:{port}/json/list", timeout=DEADLINE_S) as response:
            for target in json.load(response):
                if target["type"] == "page":
                    return str(target["webSocketDebuggerUrl"])
        time.sleep(0.05)
    raise AssertionError("Chromium opened no page")
