"""What a notebook touches: `import everloop as ev`, then `ev.check(frame, …)` and `ev.open("fraud")`.

    fraud = ev.open("fraud")
    fraud.explore(), fraud.features()
    mine = fraud.use(pipeline.fit(train.X, train.y))        train = fraud.training()
    board = fraud.search(minutes=20, beside=[mine])
    best = board.best(beats=mine)
    best.worst(by=["country"])
    best.to_spec(reason="…")

pandas and Polars go in and come out. Every result displays itself, and is a small typed object with `to_dict()`.
"""

from everloop.notebook.best import Best, WorstParts
from everloop.notebook.board import Board
from everloop.notebook.handle import ModelHandle
from everloop.notebook.opening import open  # noqa: A004 as in gzip.open
from everloop.notebook.past import check
from everloop.notebook.training import Training
from everloop.notebook.written import WrittenSpec

__all__ = ["Best", "Board", "ModelHandle", "Training", "WorstParts", "WrittenSpec", "check", "open"]
