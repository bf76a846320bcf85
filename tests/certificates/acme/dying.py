"""A program that orders a certificate and kills itself in a step: `python -m … DATA DIRECTORY CA_FILE HTTP_PORT NAME STEP before|after`."""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from portway.certificates.acme.client import HTTP_01, AcmeClient
from portway.certificates.acme.order import Orderer
from tests.certificates.acme.kit import Ca, empty_source, running
from tests.kit.pebble import challenge_answers


class _DyingOrderer(Orderer):
    """Kills this process before its step `step`, or after it, when its result is lost."""

    step, after = 0, False
    count = itertools.count()

    async def run(self, call: Callable[[AcmeClient], Any]) -> Any:
        dies = next(self.count) == self.step

        def dying(client: AcmeClient) -> Any:
            if dies and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(client)
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return await super().run(dying)


async def order(data: Path, ca: Ca, http_port: int, name: str) -> None:
    with challenge_answers(empty_source(), http_port) as answers:
        async with running(ca, data, kinds=(HTTP_01,), orderer=_DyingOrderer) as run:
            answers.source = run.source
            run.manager.certificate_wanted(name, reserved=True)
            await run.until(lambda: run.issued() == [name])
            await asyncio.sleep(0.2)
    print("issued", flush=True)


if __name__ == "__main__":
    data, directory, ca_file, http_port, name, step, when = sys.argv[1:]
    _DyingOrderer.step, _DyingOrderer.after = int(step), when == "after"
    asyncio.run(order(Path(data), Ca(directory, Path(ca_file)), int(http_port), name))
