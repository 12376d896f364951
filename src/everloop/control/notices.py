"""What people are told of a fact: what happened, to which model, why, and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from everloop.errors import NotFound
from everloop.ledger import Fact, Ledger
from everloop.project import NOTICES, format_duration

__all__ = ["DIGEST_LINES", "FACT_KINDS", "Notice", "digest_of", "fact_kinds", "notice_of", "trial_notice"]

DIGEST_LINES: Final = 20
"""How many notices a digest tells one by one; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A message. kind: one of `project.NOTICES`. first, last: the oldest and the newest of the `facts` it tells."""

    kind: str
    title: str
    body: str
    first: int
    last: int
    facts: int = 1

    @property
    def sentence(self) -> str:
        """What happened and why in one line, as the ledger keeps it and a digest tells it."""
        return f"{self.title.removeprefix('everloop: ')}: {self.body.partition(chr(10))[0]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What is made of a fact: what of the title comes after the model, why, and what to do next."""

    model: str | None
    what: str
    why: str
    next: str


def _alert(fact: Fact, _ledger: Ledger) -> _Told:
    said = fact.payload
    next_step = f"everloop alert show {said['alert']}"
    return _Told(model=said["model"], what=f"alert {said['alert']}", why=said["sentence"], next=next_step)


def _closed(fact: Fact, _ledger: Ledger) -> _Told:
    said = fact.payload
    next_step = f"everloop alert show {said['alert']}"
    return _Told(model=said["model"], what=f"alert {said['alert']} closed", why=said["reason"], next=next_step)


def _ended(word: str) -> Callable[[Fact, Ledger], _Told]:
    def told(fact: Fact, ledger: Ledger) -> _Told:
        said = fact.payload
        run = ledger.run(said["run"])
        doing = "scoring" if run.workflow == "score" else f"training of {run.spec}" if run.spec else run.workflow
        step = f" at {said['step']}" if said.get("step") else ""
        next_step = f"everloop run show {said['run']}"
        return _Told(model=run.model, what=f"{doing} {word}{step}", why=said["sentence"], next=next_step)

    return told


def _promoted(fact: Fact, _ledger: Ledger) -> _Told:
    said = fact.payload
    over = "" if said.get("replaced") is None else f" in place of v{said['replaced']}"
    name, version = said["model"], said["version"]
    return _Told(
        model=name, what=f"v{version} promoted{over}", why=said["sentence"], next=f"everloop why {name}/v{version}"
    )


def _stopped(fact: Fact, _ledger: Ledger) -> _Told:
    said = fact.payload
    name, version = said["model"], said["version"]
    return _Told(
        model=name, what=f"rollout of v{version} stopped", why=said["sentence"], next=f"everloop why {name}/v{version}"
    )


def _rolled_back(fact: Fact, _ledger: Ledger) -> _Told:
    said = fact.payload
    name, before, now = said["model"], said["from_version"], said["to_version"]
    why = said["reason"] or f"{fact.actor} asked for it"
    return _Told(model=name, what=f"rolled back from v{before} to v{now}", why=why, next=f"everloop why {name}/v{now}")


def _fired(fact: Fact, _ledger: Ledger) -> _Told | None:
    """A schedule that fires at its time is no news."""
    said = fact.payload
    skipped, sentence, late_s = said.get("skipped"), said.get("sentence", ""), said.get("late_s", 0.0)
    if not skipped and not sentence:
        return None
    due = str(said["due"])[:16].replace("T", " ")
    batch = fact.subject == f"{said['model']}/score"
    command = f"everloop run list {said['model']}" if batch else f"everloop schedule show {said['model']}"
    schedule = "the schedule of batch scoring" if batch else "the schedule"
    if skipped:
        return _Told(model=said["model"], what=f"{schedule} was skipped (due {due} UTC)", why=skipped, next=command)
    return _Told(
        model=said["model"],
        what=f"{schedule} fired {_minutes(late_s)} late (due {due} UTC)",
        why=sentence,
        next=command,
    )


def _declined(fact: Fact, _ledger: Ledger) -> _Told:
    said = fact.payload
    command = f"everloop schedule show {said['model']}"
    return _Told(model=said["model"], what=f"run {said['run']} cannot begin", why=said["sentence"], next=command)


def _scored(fact: Fact, _ledger: Ledger) -> _Told | None:
    """Batch scoring that took every row is no news."""
    said = fact.payload
    files = [f"{one['name']}: {one['sentence']}" for one in said["refused"]]
    rows = [f"{said['rejected']:,} rows broke the contract; they lie beside the result"] if said["rejected"] else []
    if not files and not rows:
        return None
    many = "files" if len(files) != 1 else "file"
    what = f"{said['rejected']:,} rows were not scored" if not files else f"{len(files)} {many} were not scored"
    why = "; ".join([*files[:3], *([f"and {len(files) - 3} more"] if len(files) > 3 else []), *rows])
    return _Told(model=said["model"], what=what, why=why, next=f"everloop run show {said['run']}")


def _minutes(seconds: float) -> str:
    return format_duration(timedelta(minutes=max(1, round(seconds / 60))))


_TELLS: Final[Mapping[str, tuple[str, Callable[[Fact, Ledger], _Told | None]]]] = {
    "alert.opened": ("alert", _alert),
    "alert.closed": ("alert closed", _closed),
    "run.refused": ("refused", _ended("refused")),
    "run.failed": ("failed", _ended("failed")),
    "rollout.promoted": ("promoted", _promoted),
    "rollout.stopped": ("stopped", _stopped),
    "rollback.done": ("rolled back", _rolled_back),
    "schedule.fired": ("schedule", _fired),
    "schedule.declined": ("schedule", _declined),
    "score.done": ("rejected", _scored),
}
FACT_KINDS: Final[Mapping[str, str]] = {fact: kind for fact, (kind, _) in _TELLS.items()}
"""Kind of fact → the kind of notice that tells it; the one table to add to."""


def fact_kinds(kinds: Sequence[str]) -> list[str]:
    """The kinds of facts that notices of these kinds tell."""
    return [fact for fact, kind in FACT_KINDS.items() if kind in kinds]


def notice_of(fact: Fact, ledger: Ledger) -> Notice | None:
    """What is told of a fact; None where it is nothing that anybody must hear."""
    if fact.kind not in _TELLS:
        return None
    kind, tell = _TELLS[fact.kind]
    try:
        told = tell(fact, ledger)
    except (KeyError, NotFound):  # a fact of another release: better told plainly than not at all
        told = _plainly(fact)
    if told is None:
        return None
    model = "" if told.model is None else f"{told.model}: "
    # The fact's number lets whoever gets a notice twice know it; its hash is a copy of the chain outside of the ledger.
    body = f"{told.why}\nnext: {told.next}\n{fact.at:%Y-%m-%d %H:%M} UTC, fact {fact.seq} {fact.hash[:12]}"
    return Notice(kind=kind, title=f"everloop: {model}{told.what}", body=body, first=fact.seq, last=fact.seq)


def _plainly(fact: Fact) -> _Told:
    said: Mapping[str, Any] = fact.payload
    why = str(said.get("sentence") or said.get("reason") or NOTICES[FACT_KINDS[fact.kind]])
    model = said.get("model")
    return _Told(
        model=None if model is None else str(model),
        what=f"{fact.kind} {fact.subject}",
        why=why,
        next="everloop audit list",
    )


def digest_of(notices: Sequence[Notice]) -> Notice:
    """Many notices as one, the oldest first: the newest are told one by one, all are counted. Of one, itself."""
    if len(notices) == 1:
        return notices[0]
    counted: dict[str, int] = {}
    for notice in notices:
        counted[notice.kind] = counted.get(notice.kind, 0) + 1
    shown = notices[-DIGEST_LINES:]
    lines = [notice.sentence for notice in shown]
    counts = ", ".join(f"{count} {kind}" for kind, count in counted.items())
    earlier = [] if len(shown) == len(notices) else [f"and {len(notices) - len(shown)} before these"]
    last = notices[-1].last
    return Notice(
        kind=notices[-1].kind,
        title=f"everloop: {len(notices)} notices that could not be sent before",
        body="\n".join([counts, *lines, *earlier, f"next: everloop audit list (up to fact {last})"]),
        first=notices[0].first,
        last=last,
        facts=len(notices),
    )


def trial_notice(project: str) -> Notice:
    """What `everloop notice test` sends."""
    return Notice(
        kind="test",
        title=f"everloop: {project}: a test",
        body="This channel is reached. Nothing happened.\nnext: nothing",
        first=0,
        last=0,
        facts=0,
    )
