"""`portway demo`: server, agent and sample site in one command."""

import os

import click

from portway.cli.examples import examples
from portway.cli.options import json_option, settings_options
from portway.config.sources import load_settings
from portway.demo.settings import DemoSettings
from portway.errors import ConfigError

EXAMPLES = examples(("portway demo", "prints a URL to open in a browser"))


@click.command("demo", epilog=EXAMPLES)
@settings_options(DemoSettings)
@json_option("Print events to stdout as JSON, one per line: demo_up with the URL, then the agent's events.")
def demo(as_json: bool, **flags: object) -> None:
    """Run a server, an agent and a sample site on this machine, and print the URL to open."""
    settings = load_settings(DemoSettings, "demo", flags=flags, environ=os.environ, file=None)
    try:
        from portway.demo.app import run
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"cannot run the demo: package {exc.name} is missing; in a clone, run `make demo` or pip install '.[demo]'"
        ) from exc
    run(settings, as_json=as_json)
