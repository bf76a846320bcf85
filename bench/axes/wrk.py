"""Runs wrk and parses its report."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.systems.base import Address
from bench.tools import need

_RATE = re.compile(r"^Requests/sec:\s+([0-9.]+)$", re.MULTILINE)
_COUNT = re.compile(r"^\s*([0-9]+) requests in ", re.MULTILINE)
_ERRORS = re.compile(r"^\s*Socket errors: (.+)$", re.MULTILINE)
_REFUSED = re.compile(r"^\s*Non-2xx or 3xx responses: ([0-9]+)$", re.MULTILINE)
LOOPBACK = Path(__file__).resolve().parent.parent / "load" / "loopback.lua"
FINISH_S_MAX = 15.0  # wrk ends by itself, unless the address hangs


@dataclass(frozen=True, slots=True)
class WrkResult:
    """Result of one run of wrk."""

    per_s: float
    requests: int
    notes: list[str]


def parse_wrk(text: str) -> WrkResult:
    """Parse wrk's report.

    Raises:
        BenchError: invalid report, no response, or more error responses than good ones.
    """
    rate, count = _RATE.search(text), _COUNT.search(text)
    if rate is None or count is None or int(count[1]) == 0:
        raise BenchError(f"wrk got no response: {' / '.join(text.split(chr(10))[-4:]).strip()[:200]}")
    refused = _REFUSED.search(text)
    if refused and int(refused[1]) * 2 > int(count[1]):
        raise BenchError(f"{refused[1]} of {count[1]} responses were errors")
    notes = [f"{refused[1]} of {count[1]} responses were errors"] if refused else []
    errors = _ERRORS.search(text)
    notes += [f"wrk's socket errors: {errors[1]} (of {count[1]} requests)"] if errors else []
    return WrkResult(per_s=float(rate[1]), requests=int(count[1]), notes=notes)


def run_wrk(address: Address, connections: int, seconds: float, fields: tuple[str, ...] = ()) -> WrkResult:
    """Make as many requests as one thread of wrk can.

    Raises:
        BenchError: it failed.
    """
    headers = [word for field in (f"Host: {address.authority}", *fields) for word in ("-H", field)]
    whole_s = max(1, round(seconds))  # wrk takes whole seconds only
    target = [f"http://127.0.0.1:{address.port}/"]
    if address.tls is not None:
        target = ["-s", str(LOOPBACK), f"https://{address.tls.server_name}:{address.port}/"]
    argv = [need("wrk"), "-t1", f"-c{connections}", f"-d{whole_s}s", *headers, *target]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=whole_s + FINISH_S_MAX, check=False)
    except subprocess.TimeoutExpired as exc:
        raise BenchError(f"wrk did not end in {whole_s + FINISH_S_MAX:g} s") from exc
    return parse_wrk(done.stdout + done.stderr)
