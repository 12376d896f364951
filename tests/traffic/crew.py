"""Processes that tests start and kill: `crew.py record|move|starve FOLDER …`."""

import itertools
import os
import random
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

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


def dies_at(point: str, arrival: int) -> Callable[[str], None]:
    left = itertools.count(arrival, -1)

    def crash(reached: str) -> None:
        if reached == point and next(left) <= 1:
            os.kill(os.getpid(), signal.SIGKILL)

    return crash


def move(world: World, point: str, arrival: int) -> None:
    """Move and compact for ever, to die at a point."""
    with world.mover(crash=dies_at(point, arrival)) as mover:
        while True:
            mover.move_once()
            mover.compact()
            print("moved", flush=True)


def starve(world: World, limit_bytes: int) -> None:
    """Move where no file may grow beyond a limit."""
    with world.mover() as mover:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
        try:
            mover.move_once()
        except EverloopError as error:
            print(type(error).__name__, error, flush=True)


if __name__ == "__main__":
    task, folder, *rest = sys.argv[1:]
    place = World(Path(folder))
    if task == "record":
        record(place, int(rest[0]))
    elif task == "move":
        move(place, rest[0], int(rest[1]))
    else:
        starve(place, int(rest[0]))
