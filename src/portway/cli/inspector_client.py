"""Finds the inspectors of this user's running agents by their key files, and sends them requests."""

import http.client
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from portway.errors import ConfigError, PortwayError, RefusedError, UnavailableError

REQUEST_S_MAX = 60.0
"""Longer than a replay may take."""


class RunningInspector(msgspec.Struct, frozen=True):
    """One agent's inspector."""

    pid: int
    url: str
    key: str

    @property
    def page_url(self) -> str:
        """The address of the page, with the key."""
        return f"{self.url}?key={self.key}" if self.key else self.url

    def request(self, method: str, path: str, content: object = None) -> Any:
        """Send a request and return the JSON of its response.

        Raises:
            RefusedError: the inspector refused it.
            UnavailableError: it does not respond.
        """
        headers = {"Authorization": f"Bearer {self.key}", "X-Portway": "1"}
        body = None
        if content is not None:
            body, headers["Content-Type"] = msgspec.json.encode(content), "application/json"
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=REQUEST_S_MAX)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as exc:
            raise UnavailableError(f"the inspector of agent {self.pid} does not respond: {exc}") from exc
        finally:
            connection.close()
        found: Any = msgspec.json.decode(data) if data else None
        if response.status >= 400:
            error = found["error"]
            raise RefusedError(error["code"], error["message"], error.get("next_step", ""))
        return found


def running_inspectors(folder: Path) -> list[RunningInspector]:
    """Return the inspectors of agents that run, the newest first; remove the files of dead ones."""
    return sorted(_running(folder), key=lambda one: -one.pid)


def _running(folder: Path) -> Iterator[RunningInspector]:
    from portway.config.files import read_secret

    for path in folder.glob("inspector-*.json"):
        try:
            data = read_secret(path)
            found = msgspec.json.decode(data or b"", type=RunningInspector)
        except (ConfigError, msgspec.DecodeError):
            continue
        if _is_alive(found.pid):
            yield found
        else:
            path.unlink(missing_ok=True)


def inspector_of(folder: Path, exchange: int) -> RunningInspector:
    """Return the inspector that can replay an exchange best: the one that still has its secrets, else any that has it.

    Raises:
        PortwayError: no agent runs, or none has it.
    """
    found = running_inspectors(folder)
    if not found:
        raise UnavailableError("no agent with an inspector is running; start one with `portway http TARGET --inspect 4040`")
    best: RunningInspector | None = None
    failure: PortwayError | None = None
    for one in found:
        try:
            detail = one.request("GET", f"/api/requests/{exchange}")
        except PortwayError as exc:
            failure = exc
            continue
        if detail["replayable"]["exact"]:
            return one
        best = best or one
    if best is None:
        raise failure or UnavailableError(f"no exchange {exchange}")
    return best


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True
