"""Processes that tests start and kill: `crew.py record|move|forget|starve|wait_out FOLDER …`."""

import itertools
import logging
import random
import resource
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dies import dies_at
from everloop.errors import EverloopError
from traffic.world import World, batch, row


def record(world: World, seed: int) -> None:
    """Record rows of one id space that all recorders share, and say which were acknowledged."""
    chance = random.Random(seed)
    with world.spool() as spool:
        for turn in itertools.count():
            numbers = [turn * 5 + chance.randrange(60) for _ in range(chance.randint(1, 30))]
            rows = [row(f"p{n}", amount=float(n)) for n in numbers]
            done = spool.append_predictions(batch(rows, answer=f"worker {seed}"))
            assert not done.conflicts
            print(" ".join(f"p{n}" for n in numbers), flush=True)


def move(world: World, point: str, arrival: int) -> None:
    """Move and compact for ever, to die at a point."""
    with world.mover(crash=dies_at(point, arrival)) as mover:
        while True:
            mover.move_once()
            mover.compact()
            print("moved", flush=True)


def forget(world: World, entity: str, point: str, arrival: int) -> None:
    """Forget someone, and die at a point."""
    world.forgetting(entity, crash=dies_at(point, arrival)).erase()


def starve(world: World, limit_bytes: int) -> None:
    """Move where no file may grow beyond a limit."""
    with world.mover() as mover:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
        try:
            mover.move_once()
        except EverloopError as error:
            print(type(error).__name__, error, flush=True)


def wait_out(world: World, limit_bytes: int) -> None:
    """Run where no file may grow beyond a limit, which is lifted after a few turns."""
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    turns = itertools.count(1)

    class Stop:
        def wait(self, timeout: float | None = None) -> bool:
            turn, unlimited = next(turns), resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes if turn < 5 else unlimited, unlimited))
            return turn > 6

    with world.mover() as mover:
        mover.run(Stop())


if __name__ == "__main__":
    task, folder, *rest = sys.argv[1:]
    place = World(Path(folder))
    if task == "record":
        record(place, int(rest[0]))
    elif task == "move":
        move(place, rest[0], int(rest[1]))
    elif task == "forget":
        forget(place, rest[0], rest[1], int(rest[2]))
    else:
        {"starve": starve, "wait_out": wait_out}[task](place, int(rest[0]))
