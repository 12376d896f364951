"""What is told of each kind of fact: what happened, to which model, why, and what to do next."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from everloop.clock import SimulatedClock
from everloop.control.notices import DIGEST_LINES, FACT_KINDS, digest_of, fact_kinds, notice_of
from everloop.ledger import KINDS, Ledger
from everloop.project import NOTICES

NOW = datetime(2026, 3, 9, tzinfo=UTC)
SPAN = {"start": NOW, "end": NOW}
ALERT = {
    "alert": "a-1",
    "model": "fraud",
    "check": "recall",
    "window": SPAN,
    "sentence": "recall fell: 0.41 [0.33, 0.50], expected 0.79",
    "evidence_kind": "labels",
}
FIRED: dict[str, Any] = {"model": "fraud", "schedule": "daily", "due": NOW}


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    with Ledger.open(tmp_path / "ledger.db", clock=SimulatedClock(NOW)) as found:
        yield found


def run(ledger: Ledger, name: str, **rest: Any) -> None:
    ledger.append("run.started", name, {"run": name, "workflow": "train", "model": "fraud", **rest}, actor="bob")


TOLD = [
    ("alert.opened", "a-1", ALERT, "alert", "fraud: alert a-1", "recall fell", "everloop alert show a-1"),
    (
        "run.refused",
        "r-1",
        {"run": "r-1", "sentence": "recall 0.71 is below 0.80", "step": "gate"},
        "refused",
        "fraud: training of fraud-s1 refused at gate",
        "recall 0.71 is below 0.80",
        "everloop run show r-1",
    ),
    (
        "run.failed",
        "r-1",
        {"run": "r-1", "sentence": "the source is gone", "step": "snapshot"},
        "failed",
        "fraud: training of fraud-s1 failed at snapshot",
        "the source is gone",
        "everloop run show r-1",
    ),
    (
        "schedule.fired",
        "fraud",
        {**FIRED, "skipped": "another challenger is being tried"},
        "schedule",
        "fraud: the schedule was skipped (due 2026-03-09 00:00 UTC)",
        "another challenger",
        "everloop schedule show fraud",
    ),
    (
        "schedule.fired",
        "fraud",
        {**FIRED, "run": "r-2", "late_s": 7200.0, "sentence": "nothing watched when it came due"},
        "schedule",
        "fraud: the schedule fired 2h late (due 2026-03-09 00:00 UTC)",
        "nothing watched",
        "everloop schedule show fraud",
    ),
    (
        "schedule.fired",
        "fraud/score",
        {**FIRED, "run": "r-2", "late_s": 7200.0, "sentence": "nothing watched when it came due"},
        "schedule",
        "fraud: the schedule of batch scoring fired 2h late (due 2026-03-09 00:00 UTC)",
        "nothing watched",
        "everloop run list fraud",
    ),
    (
        "score.done",
        "fraud",
        {"model": "fraud", "run": "r-1", "source": "new", "target": "scored", "rows": 9, "rejected": 2},
        "rejected",
        "fraud: 2 rows were not scored",
        "2 rows broke the contract",
        "everloop run show r-1",
    ),
    (
        "schedule.declined",
        "fraud",
        {"model": "fraud", "run": "r-9", "sentence": "the spec was edited"},
        "schedule",
        "fraud: run r-9 cannot begin",
        "the spec was edited",
        "everloop schedule show fraud",
    ),
]


@pytest.mark.parametrize(("fact", "subject", "payload", "kind", "title", "why", "then"), TOLD)
def test_a_notice_says_what_to_which_model_why_and_what_next(
    ledger: Ledger, fact: str, subject: str, payload: dict[str, Any], kind: str, title: str, why: str, then: str
) -> None:
    run(ledger, "r-1", spec="fraud-s1")
    written = ledger.append(fact, subject, payload, actor="control")
    notice = notice_of(written, ledger)
    assert notice is not None
    assert (notice.kind, notice.title, notice.last) == (kind, f"everloop: {title}", written.seq)
    said, following, which = notice.body.splitlines()
    assert said.startswith(why)
    assert following == f"next: {then}"
    assert which == f"2026-03-09 00:00 UTC, fact {written.seq} {written.hash[:12]}"


def test_versions_are_told_by_name(ledger: Ledger) -> None:
    told = {}
    for kind, payload in (
        ("rollout.promoted", {"model": "fraud", "version": 2, "replaced": 1, "sentence": "better by 0.1"}),
        ("rollout.stopped", {"model": "fraud", "version": 2, "sentence": "errors in 3 of 10 rows"}),
        ("rollback.done", {"model": "fraud", "from_version": 2, "to_version": 1, "reason": "a leak"}),
    ):
        fact = ledger_fact(kind, payload)
        notice = notice_of(fact, ledger)
        assert notice is not None
        told[kind] = (notice.title, notice.sentence, notice.body.splitlines()[1])
    assert told == {
        "rollout.promoted": (
            "everloop: fraud: v2 promoted in place of v1",
            "fraud: v2 promoted in place of v1: better by 0.1",
            "next: everloop why fraud/v2",
        ),
        "rollout.stopped": (
            "everloop: fraud: rollout of v2 stopped",
            "fraud: rollout of v2 stopped: errors in 3 of 10 rows",
            "next: everloop why fraud/v2",
        ),
        "rollback.done": (
            "everloop: fraud: rolled back from v2 to v1",
            "fraud: rolled back from v2 to v1: a leak",
            "next: everloop why fraud/v1",
        ),
    }


def ledger_fact(kind: str, payload: dict[str, Any]) -> Any:
    """A fact as it would stand in a ledger, without the state that it needs there."""
    from everloop.ledger import Fact

    return Fact(
        seq=7, at=NOW, actor="alice", kind=kind, subject="fraud", cause=None, schema=1, payload=payload,
        prev="0" * 64, hash="a" * 64,
    )  # fmt: skip


def test_what_fires_in_time_is_no_news_and_what_is_not_asked_for_is_no_notice(ledger: Ledger) -> None:
    fired = ledger.append("schedule.fired", "fraud", {**FIRED, "run": "r-2"}, actor="control")
    assert notice_of(fired, ledger) is None
    scored = {"model": "fraud", "run": "r-1", "source": "new", "target": "scored", "rows": 9}
    assert notice_of(ledger.append("score.done", "fraud", scored, actor="control"), ledger) is None
    assert notice_of(ledger.append("project.created", "p", {"project": "p"}, actor="alice"), ledger) is None
    odd = ledger_fact("run.failed", {"run": "r-unknown", "sentence": "it broke"})
    notice = notice_of(odd, ledger)
    assert notice is not None
    assert (notice.kind, notice.sentence) == ("failed", "run.failed fraud: it broke")


def test_the_table_holds_every_kind_of_notice_and_real_kinds_of_facts() -> None:
    assert set(FACT_KINDS.values()) == set(NOTICES)
    assert FACT_KINDS.keys() <= KINDS.keys()
    assert fact_kinds(("failed", "promoted")) == ["run.failed", "rollout.promoted"]


def test_a_digest_counts_all_and_tells_the_newest(ledger: Ledger) -> None:
    notices = []
    for number in range(DIGEST_LINES + 3):
        fact = ledger.append("alert.opened", f"a-{number}", {**ALERT, "alert": f"a-{number}"}, actor="monitor")
        notice = notice_of(fact, ledger)
        assert notice is not None
        notices.append(notice)
    digest = digest_of(notices)
    lines = digest.body.splitlines()
    assert (digest.facts, digest.first, digest.last) == (len(notices), notices[0].first, notices[-1].last)
    assert lines[0] == f"{len(notices)} alert"
    assert len(lines) == DIGEST_LINES + 3
    assert lines[1].startswith("fraud: alert a-3: recall fell")
    assert lines[-2] == "and 3 before these"
    assert digest_of(notices[:1]) is notices[0]
