"""Runs wrk and reads what it prints."""

import re
import subprocess
from dataclasses import dataclass

from bench.errors import BenchError
from bench.systems.base import Address
from bench.tools import need

_RATE = re.compile(r"^Requests/sec:\s+([0-9.]+)$", re.MULTILINE)
_COUNT = re.compile(r"^\s*([0-9]+) requests in ", re.MULTILINE)
_ERRORS = re.compile(r"^\s*Socket errors: (.+)$", re.MULTILINE)
_REFUSED = re.compile(r"^\s*Non-2xx or 3xx responses: ([0-9]+)$", re.MULTILINE)
FINISH_S_MAX = 15.0  # wrk ends by itself; a visitor's address that hangs must not keep it


@dataclass(frozen=True, slots=True)
class WrkResult:
    """One run of wrk."""

    per_s: float
    requests: int
    notes: list[str]


def parse_wrk(text: str) -> WrkResult:
    """Read wrk's report.

    Raises:
        BenchError: it is none, or no request was answered, or more were refused than answered well.
    """
    rate, count = _RATE.search(text), _COUNT.search(text)
    if rate is None or count is None or int(count[1]) == 0:
        raise BenchError(f"wrk got no answer: {' / '.join(text.split(chr(10))[-4:]).strip()[:200]}")
    refused = _REFUSED.search(text)
    if refused and int(refused[1]) * 2 > int(count[1]):
        raise BenchError(f"{refused[1]} of {count[1]} answers were errors")
    notes = [f"{refused[1]} of {count[1]} answers were errors"] if refused else []
    errors = _ERRORS.search(text)
    notes += [f"wrk's socket errors: {errors[1]} (of {count[1]} requests)"] if errors else []
    return WrkResult(per_s=float(rate[1]), requests=int(count[1]), notes=notes)


def run_wrk(address: Address, connections: int, seconds: float, fields: tuple[str, ...] = ()) -> WrkResult:
    """Let one thread of wrk make as many requests as it can.

    Raises:
        BenchError: it failed.
    """
    headers = [word for field in (f"Host: {address.authority}", *fields) for word in ("-H", field)]
    whole_s = max(1, round(seconds))  # wrk takes whole seconds only
    argv = [need("wrk"), "-t1", f"-c{connections}", f"-d{whole_s}s", *headers, f"http://127.0.0.1:{address.port}/"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=whole_s + FINISH_S_MAX, check=False)
    except subprocess.TimeoutExpired as exc:
        raise BenchError(f"wrk did not end in {whole_s + FINISH_S_MAX:g} s") from exc
    return parse_wrk(done.stdout + done.stderr)
