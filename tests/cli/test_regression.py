"""A model of arrival times from init to an answered alert, over real processes and real HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from everloop.bundle import BundleStore
from everloop.clock import SystemClock
from everloop.data import read_contract
from everloop.improvement import investigate, propose
from everloop.ledger import Ledger
from everloop.production.rows import everything_known
from everloop.project import Project
from everloop.templates.arrival import Trips
from everloop.traffic import TrafficLog

from ..serving.place import wait_until
from .terminal import Ended, environment, everloop

# The last Thursday: near enough to now for a training window, and the same weekdays whenever this runs.
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
MIDNIGHT = TODAY - timedelta(days=(TODAY.weekday() - 3) % 7)
HISTORY = 24
CHANGED = {
    "[linear, random_forest, xgboost, lightgbm, neural_network], trials: 40": "[lightgbm], trials: 2",
    "delay: 0d ": "delay: 6h ",
}


def words(*said: str, root: Path) -> Ended:
    ended = everloop(*said, cwd=root)
    for word in () if "--json" in said else ("recall", "precision", "positives", "threshold:", "flagged"):
        assert word not in ended.out, (said, word)
    return ended


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project about a person's own file, up to its first version."""
    folder = tmp_path_factory.mktemp("arrival")
    town = Trips(seed=1, start=MIDNIGHT - timedelta(days=HISTORY + 10), days=HISTORY, rows_per_day=700)
    town.frame().write_parquet(folder / "trips.parquet")
    made = everloop("init", "eta", "--data", "trips.parquet", "--target", "minutes", cwd=folder)
    assert made.code == 0, made.err
    assert "tighten it once a search" in made.err
    path = folder / "eta" / "arrival" / "model.yaml"
    text = path.read_text()
    for before, after in CHANGED.items():
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)
    found = words("search", root=folder / "eta")
    assert found.code == 0, found.err
    assert "mape" in found.out
    assert "lightgbm beats constant and linear; on test rows mae is" in found.out
    assert words("approve", "s1", "--by", "alice", root=folder / "eta").code == 0
    run = words("train", root=folder / "eta")
    assert run.code == 0, run.err
    assert "beats the" in run.out
    return folder / "eta"


def test_the_spec_and_the_bundle_say_what_is_answered(trained: Path) -> None:
    project = Project.open(trained, environment={})
    spec = project.model("arrival").spec("s1")
    assert (spec.objective, spec.threshold, spec.quantiles) == ("mae", None, ("p10", "p50", "p90"))
    assert set(spec.expected) == {"mae", "mape", "rmse", "r2"}
    shown = words("model", "show", "v1", root=trained).out
    assert re.search(r"quantiles +p10, p50, p90", shown)
    assert "calibration" not in shown
    assert json.loads(words("model", "show", "v1", "--json", root=trained).out)["quantiles"] == ["p10", "p50", "p90"]
    with Ledger.open(project, clock=SystemClock()) as ledger:
        version = ledger.version("arrival", 1)
    bundle = BundleStore(project.paths.bundles).load(version.bundle)
    assert (bundle.threshold, bundle.manifest.positive, bundle.quantiles) == (None, None, ("p10", "p50", "p90"))
    assert bundle.error_bound is not None
    assert bundle.error_bound > 10
    assert bundle.label(False) is None
    assert bundle.manifest.metrics["coverage"] == pytest.approx(0.8, abs=0.05)


def test_a_file_is_scored_with_quantiles(trained: Path, tmp_path: Path) -> None:
    done = words("score", "../trips.parquet", str(tmp_path / "out.parquet"), "--json", root=trained)
    assert done.code == 0, done.err
    assert set(done.json) == {"path", "rows", "version"}
    scored = pl.read_parquet(tmp_path / "out.parquet")
    assert scored.columns[-5:] == ["score", "p10", "p50", "p90", "version"]
    inside = scored.select((pl.col("minutes") >= pl.col("p10")) & (pl.col("minutes") <= pl.col("p90"))).to_series()
    assert inside.mean() == pytest.approx(0.8, abs=0.06)


@contextmanager
def up(root: Path) -> Iterator[str]:
    with (root / "up.log").open("a") as talk:
        process = subprocess.Popen(
            [sys.executable, "-c", "from everloop.cli import main; main()", "up", "--port", "0", "--json"],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=talk,
            text=True,
            env=environment() | {"PATH": os.environ["PATH"]},
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (root / "up.log").read_text()
        yield json.loads(line)["url"] + "/v1/models/arrival"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        process.stdout.close()


def post(url: str, rows: list[dict[str, Any]], *, status: int = 200) -> dict[str, Any]:
    answer = httpx.post(url, json={"rows": rows}, timeout=30)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_what_is_answered_and_told_over_http_is_watched_and_raises_an_alert(trained: Path) -> None:
    """From the sixth of eight days on the centre is dug up: the errors grow, and someone is told."""
    start = MIDNIGHT - timedelta(days=9)
    town = Trips(seed=2, start=start, days=8, rows_per_day=700, slower_at=start + timedelta(days=5))
    with up(trained) as url:
        sent = 0
        for number in range(8):
            day = town.day(number).with_columns(pl.col("left_at").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
            rows = [row | {"trip_id": f"live-{row['trip_id']}"} for row in day.to_dicts()]
            asked = [{name: value for name, value in row.items() if name != "minutes"} for row in rows]
            found = post(f"{url}/predict", asked)
            assert found["errors"] == []
            first = found["results"][0]
            assert set(first) == {"id", "score", "quantiles", "version", "side"}
            assert first["quantiles"]["p10"] <= first["quantiles"]["p50"] <= first["quantiles"]["p90"]
            told = post(f"{url}/outcomes", [{"trip_id": row["trip_id"], "minutes": row["minutes"]} for row in rows])
            assert (told["recorded"], told["errors"]) == (len(rows), [])
            sent += len(rows)
        bad = [{"trip_id": "a", "minutes": True}, {"trip_id": "b", "minutes": "long"}]
        wrong = post(f"{url}/outcomes", bad, status=422)
        assert [error["detail"] for error in wrong["errors"]] == ["minutes: is not a number or null"] * 2
        log = TrafficLog(Project.open(trained, environment={}).paths.traffic, "arrival")
        wait_until(lambda: log.count() == (sent, sent), within_s=60)
    found = everloop("check", "--json", cwd=trained)
    assert found.code == 3, found.err
    status = words("status", root=trained)
    assert "mae:" in status.out
    assert "(promised" in status.out
    (alert,) = words("alert", "list", "--json", root=trained).json
    assert alert["check"] == "mae"
    assert "mae got worse" in alert["sentence"]


def test_the_alert_is_investigated_and_a_retrain_proposed_with_the_same_quantiles(trained: Path) -> None:
    """After the test above: the rows that went wrong are told by a rule, and what a retrain would make of them."""
    project, clock = Project.open(trained, environment={}), SystemClock()
    model, log = project.model("arrival"), TrafficLog(project.paths.traffic, "arrival")
    with Ledger.open(project, clock=clock) as ledger:
        (alert,) = ledger.alerts("arrival", open_only=True)
        known = everything_known(model, read_contract(model), log, as_of=clock.now())
        out = project.paths.runs / "investigations"
        bundles = BundleStore(project.paths.bundles)
        found = investigate(
            model, alert, ledger=ledger, log=log, bundles=bundles, known=known, clock=clock, out=out, execute=False
        )
        assert "large errors" in found.sentence
        assert "zone = centre" in found.sentence
        assert found.findings["focus"] == "large errors"
        assert found.findings["cost"]["metric"] == "mae"
        assert found.findings["cost"]["now"]["point"] > 1.5 * found.findings["cost"]["expected"]
        repair = found.findings["repair"]
        assert repair["retrained"]["point"] < repair["champion"]["point"]
        proposal = propose(model, alert, found, ledger=ledger, clock=clock, known=known)
    report = (out / f"{alert.alert}.html").read_text()
    assert "Large errors by day" in report
    for word in ("positives", "recall", "flagged"):
        assert word not in found.sentence + proposal.spec.reason
    assert proposal.spec.quantiles == ("p10", "p50", "p90")
    assert list(proposal.spec.expected) == ["mae"]
