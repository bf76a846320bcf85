"""Runs an agent for a command: its settings from the session's options, and its console."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from portway.agent.settings import AgentSettings, TunnelRequest
from portway.cli.inspector_options import InspectorOptions, read_inspector
from portway.errors import ConfigError

if TYPE_CHECKING:
    from portway.agent.events import EventSink
    from portway.agent.tunnel_set import TunnelSet


class SessionOptions(InspectorOptions):
    """Values of `session_options`."""

    plaintext_links: bool
    max_links: int
    connect_timeout: float | None
    drain: float
    ca_file: Path | None
    proxy: str | None
    proxy_auth_file: Path | None
    join_file: Path | None
    server: str
    data: Path | None
    log_time: bool
    as_json: bool
    log_level: str


class Reloading(Protocol):
    """Changes the tunnels of a running agent."""

    def on_hangup(self) -> None:
        """Handle SIGHUP."""

    async def run(self, on_event: "EventSink", tunnels: "TunnelSet") -> None:
        """Change `tunnels` until cancelled."""


def agent_settings(tunnels: tuple[TunnelRequest, ...], options: SessionOptions) -> AgentSettings:
    """Return the settings of an agent with `tunnels`.

    Raises:
        ConfigError: there is no join string, or an option contradicts it.
    """
    from portway.agent.join_store import agent_folder, load_join_string
    from portway.cli.lifecycle import STDOUT
    from portway.cli.server_proxy import server_proxy
    from portway.telemetry.logs import secrets_mask
    from portway.telemetry.terminal import is_terminal

    ca_file = options["ca_file"]
    folder = agent_folder(options["data"])
    join = load_join_string(options["join_file"], os.environ, folder, options["server"])
    secrets_mask.hide(join.secret)
    if ca_file is not None and (join.pin is not None or join.plaintext):
        raise ConfigError("--ca-file: cannot be used: this join string already defines how the server is verified")
    return AgentSettings(
        join=join,
        tunnels=tunnels,
        data_dir=folder,
        plaintext_links=options["plaintext_links"],
        links_max=options["max_links"],
        connect_s_max=options["connect_timeout"],
        drain_s=options["drain"],
        ca_file=ca_file,
        inspector=read_inspector(options, tunnels, folder, on_terminal=is_terminal(STDOUT) and not options["as_json"]),
        proxy=server_proxy(options["proxy"], options["proxy_auth_file"], join, os.environ),
    )


def run_agent(settings: AgentSettings, options: SessionOptions, reloading: Reloading | None = None) -> int:
    """Run an agent until it is stopped, and return the exit code."""
    from portway.agent.app import run
    from portway.agent.console import Console, json_console
    from portway.agent.events import AgentEvent, EventSink
    from portway.agent.status import AgentStatusTracker
    from portway.cli.lifecycle import STDERR, STDOUT, open_output, run_until_stopped, with_status
    from portway.clock import wall
    from portway.telemetry.terminal import Style, is_terminal

    with open_output(as_json=options["as_json"], log_level=options["log_level"]) as output:
        console: EventSink
        if options["as_json"]:
            console = json_console(output.out.write, wall)
        else:
            console = Console(
                output.out.write,
                output.err.write,
                Style.of(STDOUT),
                Style.of(STDERR),
                is_terminal(STDOUT),
                log_time=wall if options["log_time"] else None,
            )
        status = AgentStatusTracker(f"{settings.join.host}:{settings.join.port}", wall)

        def on_event(event: AgentEvent) -> None:
            status(event)
            console(event)

        def watch(moved: Callable[[], dict[int, tuple[int, int]]]) -> None:
            status.moved = moved

        change = None if reloading is None else partial(reloading.run, on_event)
        return run_until_stopped(
            lambda: with_status("agent", status.to_json, lambda: run(settings, on_event=on_event, watch=watch, change_tunnels=change)),
            settings.drain_s,
            None if reloading is None else reloading.on_hangup,
        )
