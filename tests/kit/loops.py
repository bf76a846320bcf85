"""An asyncio loop with a reactor, which a test runs until a condition holds."""

import asyncio
import logging
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from portway.clock import Clock, monotonic
from portway.engine.poller import Poller
from portway.engine.reactor import Reactor

T = TypeVar("T")


class _ConditionSelector(selectors.DefaultSelector):
    """A selector that checks the test's condition before it would wait, so that no polling is needed."""

    def __init__(self) -> None:
        super().__init__()
        self.condition: Callable[[], bool] | None = None
        self.settling = False
        self.stop: Callable[[], None] = lambda: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return ready events; stop the loop when the condition holds or, while settling, nothing is ready."""
        if self.condition is not None and self.condition():
            self.stop()
            return super().select(0)
        if self.settling and (timeout is None or timeout > 0):
            events = super().select(0)
            if not events:
                self.stop()
            return events
        return super().select(timeout)


class _ErrorLog(logging.Handler):
    """Collects errors that the engine logs: it survives failed callbacks, but the test must fail."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Store the record."""
        self.records.append(record)


class EngineLoop:
    """A loop and its reactor. Callbacks run only inside `run_until`, `settle` and `run`."""

    def __init__(self, poller: Poller | None = None, clock: Clock = monotonic) -> None:
        """Create a loop with a reactor on `poller`, by default on the one that the environment selects, and `clock`."""
        self._selector = _ConditionSelector()
        self.loop = asyncio.SelectorEventLoop(self._selector)
        self._selector.stop = self.loop.stop
        self.loop.set_exception_handler(self._on_loop_error)
        self.errors: list[str] = []
        self.tolerant = False
        """True where a callback fails on purpose; the errors are then only counted in `logged_errors`."""
        self.logged_errors = 0
        self._log = _ErrorLog()
        logging.getLogger("portway").addHandler(self._log)
        self.reactor = Reactor(self.loop, clock, poller)

    def _on_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.errors.append(f"{context.get('message')}: {error!r}")
        if error is not None and self._first is None:
            self._first = error

    _first: BaseException | None = None

    def _check(self) -> None:
        records, self._log.records = self._log.records, []
        self.logged_errors += len(records)
        for record in records:
            if not self.tolerant:
                self.errors.append(record.getMessage())
                self._first = self._first or (record.exc_info[1] if record.exc_info else None)
        errors, self.errors = self.errors, []
        first, self._first = self._first, None
        if errors:
            raise AssertionError(f"errors inside the loop: {errors}") from first

    def run_until(self, condition: Callable[[], bool], deadline_s: float = 20.0, what: str = "") -> None:
        """Run until `condition()` is true; it is checked each time before the loop would wait.

        Raises:
            AssertionError: it was not true in time, or a callback raised.
        """
        late = False

        def give_up() -> None:
            nonlocal late
            late = True
            self.loop.stop()

        timer = self.loop.call_later(deadline_s, give_up)
        self._selector.condition = condition
        try:
            self.loop.run_forever()
        finally:
            self._selector.condition = None
            timer.cancel()
        self._check()
        if late and not condition():
            raise AssertionError(f"not within {deadline_s} s: {what or condition}")

    def settle(self) -> None:
        """Run until no event and no callback is ready."""
        self._selector.settling = True
        try:
            self.loop.run_forever()
        finally:
            self._selector.settling = False
        self._check()

    def run(self, coroutine: Coroutine[Any, Any, T], deadline_s: float = 10.0) -> T:
        """Run a coroutine to its end and return its result."""

        async def bounded() -> T:
            async with asyncio.timeout(deadline_s):
                return await coroutine

        result = self.loop.run_until_complete(bounded())
        self._check()
        return result

    def close(self) -> None:
        """Close the reactor and the loop; raise errors of callbacks."""
        self.reactor.close()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        logging.getLogger("portway").removeHandler(self._log)
        self._check()
