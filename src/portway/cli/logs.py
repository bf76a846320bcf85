"""`portway logs`: lists captured requests, and follows new ones."""

import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from portway.cli.examples import examples
from portway.cli.options import agent_data_option, json_option

if TYPE_CHECKING:
    from portway.inspector.query import Condition
    from portway.inspector.store_reader import StoreReader

POLL_S = 0.3
SHOWN_DEFAULT = 50

EXAMPLES = examples(
    ("portway logs", "the latest captured requests"),
    ("portway logs --follow status:5xx", "failed requests as they happen"),
    ("portway logs method:POST path:/webhook 'header:x-event=push'", "terms are combined"),
    ("portway logs --json duration:'>1s' | jq .target", "JSON, one object per line"),
)


@click.command("logs", epilog=EXAMPLES)
@click.argument("query", metavar="[QUERY]...", nargs=-1)
@click.option("-f", "--follow", is_flag=True, help="Print new requests until stopped.")
@click.option(
    "-n",
    "--limit",
    metavar="N",
    type=click.IntRange(0, 100_000),
    default=SHOWN_DEFAULT,
    show_default=True,
    help="Print the latest N first.",
)
@agent_data_option
@json_option("Print each request as one line of JSON.")
def logs(query: tuple[str, ...], follow: bool, limit: int, data: Path | None, as_json: bool) -> int:
    """List the requests that agents have captured, oldest first: those that match all terms of QUERY, or all.

    Terms: method:POST, status:5xx, path:/api, tunnel:NAME, duration:>1s, size:>1MB, header:NAME=TEXT, body:TEXT, kind:websocket, error:yes; other
    text is searched everywhere; a minus before a term excludes what matches.
    """
    from portway.agent.join_store import agent_folder
    from portway.errors import ConfigError
    from portway.inspector.query import parse_query
    from portway.inspector.store import FILE
    from portway.inspector.store_reader import open_for_reading

    condition = parse_query(" ".join(_quoted(term) for term in query))
    folder = agent_folder(data)
    if folder is None:
        raise ConfigError("data: there is no data directory; give one with --data or PORTWAY_DATA")
    store = open_for_reading(folder / FILE)
    position, _ = store.last_change()
    shown = store.page(condition, limit=limit)
    for row in reversed(shown):
        _print(row, as_json=as_json)
    if follow:
        _follow(store, condition, position, {row["change"] for row in shown}, as_json=as_json)
    return 0


def _follow(store: "StoreReader", condition: "Condition", position: int, shown: set[int], *, as_json: bool) -> None:
    """Print what is done after change `position`, except the changes `shown`, until Ctrl-C."""
    stop = threading.Event()
    # Not KeyboardInterrupt: raised in a function that SQLite calls, it would become an error of SQLite.
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        while not stop.wait(POLL_S):
            for row in store.changes(position, condition):
                position = row["change"]
                if row["state"] != "open" and position not in shown:
                    _print(row, as_json=as_json)
    finally:
        signal.signal(signal.SIGINT, before)


def _quoted(term: str) -> str:
    """Quote a term with spaces, which the shell has split off for the user already."""
    if not any(char.isspace() for char in term) or '"' in term:
        return term
    key, colon, value = term.partition(":")
    return f'{key}:"{value}"' if colon and key.isalpha() else f'"{term}"'


def _print(row: dict[str, object], *, as_json: bool) -> None:
    from portway.inspector.documents import summary_of

    click.echo(msgspec.json.encode(summary_of(row)) if as_json else line_of(row))


def line_of(row: dict[str, object]) -> str:
    """Return one exchange as a line of text."""
    from portway.protocol.units import format_duration, format_size
    from portway.telemetry.terminal import escape

    at = time.strftime("%H:%M:%S", time.localtime(float(str(row["started_at"]))))
    took = "open" if row["duration_ms"] is None else format_duration(float(str(row["duration_ms"])) / 1000)
    kind = str(row["kind"])
    what = str(row["method"]) if row["method"] else kind
    status = str(row["status"] or "-")
    size = format_size(int(str(row["response_bytes"])))
    notes = [f"replay of {row['replay_of']}"] if row["replay_of"] else []
    if kind in ("websocket", "sse"):
        notes.append(f"{kind}, {row['messages']} messages")
    if row["error"]:
        notes.append(escape(str(row["error"]), 200))
    suffix = f"  ({'; '.join(notes)})" if notes else ""
    target = escape(str(row["target"]), 300)
    return (
        f"{row['id']:>6}  {at}  {escape(str(row['tunnel']), 40)}  {escape(what, 20):<7} {status:>3} {took:>8} {size:>8}  {target}{suffix}"
    )
