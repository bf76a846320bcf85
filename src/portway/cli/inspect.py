"""`portway inspect`: opens the inspector of a running agent."""

import os
import sys
import webbrowser

import click
import msgspec

from portway.cli.examples import examples
from portway.cli.options import json_option
from portway.errors import UnavailableError

EXAMPLES = examples(
    ("portway inspect", "open the page of the agent that was started last"),
    ("portway inspect --no-open", "print the addresses of all"),
    ("portway inspect --json", "the same as JSON"),
)


@click.command("inspect", epilog=EXAMPLES)
@click.option("--no-open", is_flag=True, help="Print the address only.")
@json_option("Print a JSON array to stdout, one object per agent, and open nothing.")
def inspect(no_open: bool, as_json: bool) -> int:
    """Open the page with captured requests in a browser, and print its address with the key.

    Without a display, or if stdout is not a terminal, the address is only printed.
    """
    from portway.cli.inspector_client import running_inspectors
    from portway.config.paths import runtime_dir

    found = running_inspectors(runtime_dir(make=False))
    if as_json:
        click.echo(msgspec.json.encode([{"pid": one.pid, "url": one.url, "page_url": one.page_url} for one in found]))
        return 0 if found else 1
    if not found:
        raise UnavailableError("no agent with an inspector is running; start one with `portway http TARGET --inspect 4040`")
    for one in found:
        click.echo(one.page_url if len(found) == 1 else f"agent {one.pid}  {one.page_url}")
    if not no_open and sys.stdout.isatty() and has_display(dict(os.environ)):
        webbrowser.open(found[0].page_url)
    return 0


def has_display(environ: dict[str, str], platform: str = sys.platform) -> bool:
    """Return whether a browser can be shown."""
    return platform == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
