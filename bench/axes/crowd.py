"""Thousands of idle visitors through one server and one agent, who then all ask at once: how many get no answer?"""

import json
import resource
from dataclasses import dataclass

from bench.axes.base import Figure, Reading, Subject
from bench.load.crowd import ANSWER_S, ARRIVE_S, SECONDS_SILENT
from bench.origins import load_argv, load_env
from bench.plan import USUAL, Plan
from bench.systems.links import Line

FILES_A_VISITOR = 2  # of a process that has a connection to the visitor and another one for him
FILES_SPARED = 1000
START_S = 10.0


def room_for(wanted: int, files_max: int) -> int:
    """How many visitors a process with two connections for each can have within the limit of open files."""
    return min(wanted, (files_max - FILES_SPARED) // FILES_A_VISITOR)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Whoever could not come counts as lost too."""

    name: str = "crowd"
    needs: tuple[str, ...] = ()
    fresh: bool = True
    line: Line | None = None
    figures: tuple[Figure, ...] = (
        Figure("crowd-lost", "idle visitors who ask at once, lost", more_is_better=False),
        Figure("crowd-took", "until the last of them has his answer, s", more_is_better=False),
    )

    def measure(self, subject: Subject, plan: Plan) -> Reading:
        """Let them come, wait, ask."""
        count = room_for(plan.crowd_visitors, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        address = subject.published.web
        visitors = subject.load.start(load_argv("crowd", address.port, address.authority, count), "crowd", load_env())
        said = json.loads(visitors.first_line(ARRIVE_S + SECONDS_SILENT + ANSWER_S + START_S))
        subject.system.check()
        notes = []
        if count < plan.crowd_visitors:
            notes.append(f"{count} visitors instead of {plan.crowd_visitors}: raise the hard limit of open files")
        elif count < USUAL.crowd_visitors:
            notes.append(f"{count} visitors only: the target is about {USUAL.crowd_visitors}")
        if said["arrived"] < count:
            notes.append(f"{count - said['arrived']} of {count} visitors could not come")
        return Reading({"crowd-lost": float(said["lost"]), "crowd-took": float(said["took_s"])}, notes)
