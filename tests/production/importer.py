"""A shop with a champion and the past predictions of another system, and a program that dies where it is told to."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from everloop.clock import SimulatedClock
from everloop.data import infer_contract, scan, write_contract
from everloop.ledger import Ledger
from everloop.production import History, SaidColumns, import_history, version_of_history
from everloop.project import Project

from ..experiment.made import payments
from .shop import GATES, shop, train

LATER = datetime(2024, 5, 1, tzinfo=UTC)
POINTS = ("predictions written", "predictions committed", "outcomes committed", "before the fact")
CARDS = 40


def history_shop(root: Path) -> Path:
    """A trained one, made once for a process and copied."""
    shutil.copytree(_trained(), root)
    return root


@cache
def _trained() -> Path:
    root = Path(tempfile.mkdtemp(prefix="history-")) / "shop"
    atexit.register(shutil.rmtree, root.parent, ignore_errors=True)
    assert train(Project.open(untrained_shop(root), environment={}), run_id="r-first").status == "finished"
    return root


def untrained_shop(root: Path) -> Path:
    """With an entity, `card`; its rows are those of January to March."""
    _, model = shop(root, gates=GATES, learner="logistic", linear=True)
    rows = with_cards(payments(10_000, linear=True))
    rows.write_parquet(root / "payments.parquet")
    text = model.folder / "model.yaml"
    text.write_text(text.read_text().replace("  id: payment\n", "  id: payment\n  entity: card\n"))
    found = Project.open(root, environment={})
    contract = infer_contract(scan("payments.parquet", root=root), found.model(), reads={"paid_at"})
    write_contract(found.model().contract_path, contract)
    return root


def with_cards(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(card=pl.format("c{}", pl.int_range(pl.len()) % CARDS))


def past(n: int = 600, *, seed: int = 5) -> pl.DataFrame:
    """What another system answered in the first days, with what turned out: inputs, proba, verdict, fraud."""
    rows = with_cards(payments(n, seed=seed, linear=True)).with_columns(payment=pl.format("old-{}", pl.int_range(n)))
    risk = (rows["v0"] + rows["v1"]).to_numpy()
    score = 1 / (1 + np.exp(-3 * (risk - 2)))
    return rows.with_columns(
        proba=pl.Series(score), verdict=pl.Series(np.where(score >= 0.5, "stop", "go")), fraud=pl.col("fraud")
    )


def imported(root: Path, source: str, **rest: Any) -> History:
    """By alice, in May."""
    said = rest.pop("said", SaidColumns(decision="verdict", positive="stop"))
    found, clock = Project.open(root, environment={}), SimulatedClock(LATER)
    with Ledger.open(found, clock=clock) as ledger:
        return import_history(
            found,
            ledger,
            clock,
            model=found.model(),
            source=source,
            said=said,
            version=version_of_history(ledger, "fraud", rest.pop("version", None)),
            actor="alice",
            root=root,
            **{"chapter_rows": 250} | rest,
        )


def facts(root: Path, kind: str = "traffic.imported") -> list[dict[str, Any]]:
    found = Project.open(root, environment={})
    with Ledger.open(found, clock=SimulatedClock(LATER)) as ledger:
        assert ledger.verify().ok
        return [dict(fact.payload) for fact in ledger.facts(kind=kind)]


def die_at(point: str, arrival: int) -> Any:
    left = iter(range(arrival, 0, -1))

    def crash(reached: str) -> None:
        if reached == point and next(left) == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    return crash


if __name__ == "__main__":
    place, *points = sys.argv[1:]
    for named in points:
        name, _, number = named.partition("@")
        child = os.fork()
        if child == 0:
            imported(Path(place) / named.replace(" ", "-"), "past.parquet", crash=die_at(name, int(number)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(named, os.waitstatus_to_exitcode(status), sep="\t", flush=True)
