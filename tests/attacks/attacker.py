"""The attacker's process: runs one script."""

import os
from dataclasses import asdict

from tests.attacks.attack import all_attacks
from tests.attacks.child import send_line, task_of_child, wait_for_start
from tests.attacks.context import AttackContext
from tests.kit.descriptors import raise_descriptors


def main() -> None:
    """Prepare, wait for the start, attack, send the outcome."""
    task = task_of_child()
    # A real attacker runs on machines of its own: its CPU time must not delay the innocent client on this core.
    os.nice(19)
    raise_descriptors()
    attack = all_attacks()[task.pop("attack")]
    with AttackContext(**task) as context:
        steps = attack.script(context)
        next(steps)
        send_line("ready")
        wait_for_start()
        context.begin()
        try:
            next(steps)
        except StopIteration as done:
            send_line(asdict(done.value))


if __name__ == "__main__":
    main()
