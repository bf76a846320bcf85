"""The attacker's process: runs one script."""

from dataclasses import asdict

from tests.attacks.attack import all_attacks
from tests.attacks.child import await_go, say, task_of_child
from tests.attacks.ground import Ground
from tests.kit.descriptors import raise_descriptors


def main() -> None:
    """Get ready, wait for the word, attack, tell the outcome."""
    task = task_of_child()
    raise_descriptors()
    attack = all_attacks()[task.pop("attack")]
    with Ground(**task) as ground:
        steps = attack.script(ground)
        next(steps)
        say("ready")
        await_go()
        ground.begin()
        try:
            next(steps)
        except StopIteration as done:
            say(asdict(done.value))


if __name__ == "__main__":
    main()
