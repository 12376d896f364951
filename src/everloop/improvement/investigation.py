"""An investigation as others see it: its sentence, its findings, where its report and its notebook lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from everloop.improvement.rule import Rule
from everloop.ledger import Fact

__all__ = ["Investigation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Investigation:
    """What changed, where, since when, what it costs, what would repair it.

    since: the first day of the change, None where the days do not tell. rule: the new pattern, None where there is
    none that reads. findings: plain JSON with the keys `focus`, `rule`, `counts`, `change`, `cost`, `repair`,
    `drifted`, `sentences` and so on; a key that does not apply is absent. report_path, notebook_path: relative to the
    project. executed: whether the notebook holds its results. seq: the ledger's fact.
    """

    alert: str
    model: str
    sentence: str
    since: datetime | None
    rule: Rule | None
    findings: Mapping[str, Any]
    report_path: str | None
    notebook_path: str | None
    executed: bool
    seq: int

    @classmethod
    def of(cls, fact: Fact) -> Investigation:
        """The investigation that a fact `investigation.made` tells of."""
        payload = fact.payload
        findings = payload["findings"]
        since = payload["since"]
        rule = findings.get("rule")
        return cls(
            alert=payload["alert"],
            model=payload["model"],
            sentence=payload["sentence"],
            since=None if since is None else datetime.fromisoformat(since),
            rule=None if rule is None else Rule.from_dict(rule),
            findings=findings,
            report_path=payload["report_path"],
            notebook_path=payload["notebook_path"],
            executed=bool(payload["details"].get("executed", False)),
            seq=fact.seq,
        )
