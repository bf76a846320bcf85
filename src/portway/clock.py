"""The clocks of Portway; other modules take `now` as an argument or a `Clock`."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns seconds; only differences are meaningful, except for `wall`."""

monotonic: Clock = time.monotonic
"""Seconds that never decrease: for deadlines, durations, round trips."""

wall: Clock = time.time
"""Seconds since 1970 in UTC: for expiry dates and log lines, not for deadlines."""

cpu: Clock = time.thread_time
"""Seconds of CPU time of this thread: the cost of work, excluding time in which other threads run."""
