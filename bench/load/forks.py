"""Forked children of a load program: reaped when they end and killed with it, so that their CPU time counts as the load's."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from bench.parent_death import die_with_parent


class Forks:
    """Children of this process. Create one per program, before the first fork; it handles SIGCHLD and SIGTERM."""

    def __init__(self) -> None:
        self._pids: set[int] = set()
        signal.signal(signal.SIGCHLD, self._reap)
        signal.signal(signal.SIGTERM, self._end)

    def start(self, run: Callable[[], None], seconds_max: int) -> None:
        """Run `run` in a child that exits afterwards, with this process, or after `seconds_max`."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # a child may end before its id is recorded
        pid = os.fork()
        if pid:
            self._pids.add(pid)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            return
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            die_with_parent()
            signal.alarm(seconds_max)
            run()
        finally:
            os._exit(0)

    def all_alive(self, count: int) -> bool:
        """Return whether none of `count` started children has ended."""
        return len(self._pids) == count

    def _reap(self, number: int, frame: FrameType | None) -> None:
        while self._pids:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:  # a signal during this handler called it again, and that call reaped the last child
                return
            if pid == 0:
                return
            self._pids.discard(pid)

    def _end(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self._pids:
            os.waitpid(pid, 0)
        sys.exit(0)
