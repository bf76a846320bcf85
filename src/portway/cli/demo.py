"""`portway demo`: the whole thing in one command."""

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
@json_option("One event a line on stdout, as JSON: demo_up with the URL, then what the agent tells.")
def demo(as_json: bool, **flags: object) -> None:
    """Start a server, an agent and a small site on this machine, and print the URL to open."""
    settings = load_settings(DemoSettings, "demo", flags=flags, environ=os.environ, file=None)
    try:
        from portway.demo.app import run
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"the demo needs the package {exc.name}: run `make demo` in a clone, or install it there with its extra: pip install '.[demo]'"
        ) from exc
    run(settings, as_json=as_json)
