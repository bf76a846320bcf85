"""Thousands of idle visitors through one server and one agent that then all send a request at once; counts lost requests."""

import json
import resource
from dataclasses import dataclass

from bench.axes.base import Figure, Reading, Subject
from bench.load.crowd import CONNECT_S, RESPONSE_S, SECONDS_SILENT
from bench.origins import load_argv, load_env
from bench.plan import USUAL, Plan
from bench.systems.links import NetworkPath

FILES_PER_VISITOR = 2  # in a process with one connection to the visitor and one on its behalf
FILES_SPARED = 1000
START_S = 10.0


def visitors_possible(wanted: int, files_max: int) -> int:
    """Return the number of visitors that a process with two connections for each can have within its limit of open files."""
    return min(wanted, (files_max - FILES_SPARED) // FILES_PER_VISITOR)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Many idle visitors; those that could not connect also count as lost."""

    name: str = "crowd"
    needs: tuple[str, ...] = ()
    fresh: bool = True
    network_path: NetworkPath | None = None
    figures: tuple[Figure, ...] = (
        Figure("crowd-lost", "idle visitors that request at once, lost", more_is_better=False),
        Figure("crowd-took", "until the last of them has its response, s", more_is_better=False),
    )

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """Connect all visitors, wait, then send all requests."""
        count = visitors_possible(plan.crowd_visitors, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        address = subject.published.web
        visitors = subject.load.start(load_argv("crowd", address.port, address.authority, count), "crowd", load_env())
        result = json.loads(visitors.first_line(CONNECT_S + SECONDS_SILENT + RESPONSE_S + START_S))
        subject.system.check()
        notes = []
        if count < plan.crowd_visitors:
            notes.append(f"{count} visitors instead of {plan.crowd_visitors}: raise the hard limit of open files")
        elif count < USUAL.crowd_visitors:
            notes.append(f"{count} visitors only: the target is about {USUAL.crowd_visitors}")
        if result["arrived"] < count:
            notes.append(f"{count - result['arrived']} of {count} visitors could not connect")
        return Reading({"crowd-lost": float(result["lost"]), "crowd-took": float(result["took_s"])}, notes)
