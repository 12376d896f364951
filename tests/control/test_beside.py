"""A team whose model is served by something else, watched from its first day: real endpoint, mover and tick."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import polars as pl

from everloop.clock import SystemClock
from everloop.control import Controller, Resources, add_version, begin_rollout, rollout_now, why
from everloop.data import write_contract
from everloop.ledger import Ledger
from everloop.project import Project
from everloop.rollout import load_routing
from everloop.traffic import Mover

from ..serving.place import CONTRACT, endpoint

HOUR = timedelta(hours=1)
YAML = """\
task: classification
data: {source: rows.parquet, time: paid_at, id: payment_id, entity: card_id, target: fraud}
outcome: {delay: 1d, absent: negative}
objective: average_precision
monitor: {every: 1h, false_alarms: 1 per 10y}
"""


def payments(hour: datetime, *, factor: float = 1.0) -> list[dict[str, object]]:
    """An hour's payments as another server answered them."""
    random = np.random.default_rng(int(hour.timestamp()))
    amounts = random.lognormal(3.0, 0.7, 300) * factor
    return [
        {
            "payment_id": f"{hour:%H%M}-{n}",
            "card_id": f"c{n % 41}",
            "paid_at": (hour + HOUR / 300 * n).isoformat(),
            "amount": float(amount),
            "visits": int(random.integers(5)),
            "country": str(random.choice(["AT", "BE", "CH"])),
            "score": float(random.beta(1, 20)),
            "decision": "not_fraud",
            "version": 7,
        }
        for n, amount in enumerate(amounts)
    ]


def test_a_drift_in_posted_predictions_opens_an_alert_in_the_controllers_tick(tmp_path: Path) -> None:
    folder = tmp_path / "payments" / "fraud"
    folder.mkdir(parents=True)
    (folder.parent / "everloop.yaml").write_text("{}\n")
    (folder / "model.yaml").write_text(YAML)
    project = Project.open(folder.parent)
    assert project.state.is_dir()
    write_contract(project.model().contract_path, CONTRACT)
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 6 * HOUR
    clock = SystemClock()
    with endpoint(project.root) as running:
        for k in range(6):
            rows = payments(begin + k * HOUR, factor=6.0 if k == 5 else 1.0)
            assert httpx.post(running.predictions, json={"rows": rows}).json()["recorded"] == len(rows)
    paths = project.paths
    with Mover.open(spool=paths.spool, traffic=paths.traffic, clock=clock) as mover:
        mover.move_once()
    with Ledger.open(project, clock=clock) as ledger:
        said = Controller(Resources.of(project, ledger=ledger, clock=clock)).tick()
        [alert] = ledger.alerts("fraud", open_only=True)
        assert alert.check == "drift"
        assert "amount moved" in alert.sentence
        assert any(alert.sentence in sentence for sentence in said)
        assert [one.name for one in ledger.versions("fraud")] == ["fraud/v7"]
        kinds = [fact.kind for fact in ledger.facts()]
        assert {"investigation.made", "rollout.started"}.isdisjoint(kinds)  # there is no spec to ask
        # a person says that it answers, and tries the next one against it
        added = add_version(project, ledger, clock, model=None, number=7, actor="alice")
        assert (added.new, added.answers) == (False, True)
        assert load_routing(ledger, "fraud").champion == 7
        _tried_by_hand(project, ledger, clock)


def _tried_by_hand(project: Project, ledger: Ledger, clock: SystemClock) -> None:
    """v8 is registered by the source's rows and waits for a person; then it is tried."""
    rows = [{**row, "fraud": n % 50 == 0} for n, row in enumerate(payments(datetime(2025, 3, 3, tzinfo=UTC)))]
    frame = pl.DataFrame(rows).with_columns(pl.col("paid_at").str.to_datetime(time_zone="UTC"))
    frame.select("payment_id", "card_id", "paid_at", "amount", "visits", "country", "fraud", "score").write_parquet(
        project.root / "rows.parquet"
    )
    added = add_version(project, ledger, clock, model="fraud", number=8, actor="alice", score="score", threshold=0.5)
    assert (added.new, added.answers, added.rows) == (True, False, 300)
    assert {"recall", "accuracy", "average_precision"} <= set(added.version.metrics)
    assert added.version.metrics["recall"]["positives"] == 6
    assert Controller(Resources.of(project, ledger=ledger, clock=clock)).tick() == []
    assert begin_rollout(project, ledger, clock, model="fraud", number=8, actor="alice") == "fraud/v8"
    [begun, registered] = why(project, ledger, version="v8")
    assert begun.sentence.startswith("v8 began to be tried against v7")
    held = "its traffic is held against 300 rows of rows.parquet, 2025-03-03 to 2025-03-03"
    assert registered.sentence == f"v8 was registered, which something else made and serves; {held}"
    rollout, known = rollout_now(project, ledger, clock)
    assert (rollout.champion, rollout.challenger, rollout.status) == (7, 8, "running")
    assert known.comparison is None
