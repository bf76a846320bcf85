"""The only place that reads a clock; everything else takes `now` as an argument or a `Clock`."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns seconds; only differences mean anything unless it is `wall`."""

monotonic: Clock = time.monotonic
"""Seconds that never go back: deadlines, durations, round trips."""

wall: Clock = time.time
"""Seconds since 1970 in UTC: expiry dates and log lines, never deadlines."""

cpu: Clock = time.thread_time
"""Seconds of CPU time of this thread: what work costs, however often the system runs something else meanwhile."""
