"""Which column of a file of past predictions is what: as it was said, else by its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from everloop.bundle import Bundle
from everloop.errors import ContractViolation, UsageError
from everloop.project import Model, did_you_mean
from everloop.tasks import get_task

__all__ = ["HistoryColumns", "SaidColumns", "history_columns"]

_SCORE: Final = ("score", "probability", "proba", "prob", "prediction_score", "predicted_probability", "model_score",
                 "risk_score", "y_score", "y_prob", "y_proba", "pred_proba")  # fmt: skip
_NUMBER: Final = ("prediction", "predicted", "y_pred", "estimate", "forecast")
_DECISION: Final = ("decision", "decided", "is_flagged", "flagged", "predicted_label", "predicted_class", "y_pred")
_ID: Final = ("prediction_id", "id", "request_id")
_OUTCOME: Final = ("outcome", "label", "actual", "y_true", "ground_truth")
_OBSERVED: Final = ("outcome_at", "observed_at", "labelled_at", "labeled_at", "known_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidColumns:
    """What somebody said of a file's columns; None where it is to be guessed.

    threshold: from which on a score was decided positive. positive: what the decision column holds for it.
    inputs: the contract's column → the file's, where they are called otherwise.
    """

    id: str | None = None
    time: str | None = None
    entity: str | None = None
    score: str | None = None
    decision: str | None = None
    threshold: float | None = None
    positive: str | None = None
    outcome: str | None = None
    observed_at: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryColumns:
    """What each column of a file is.

    id: None where ids follow from the file and the row's place. contract: the contract's column → the file's, for all
    that a prediction carries, and the target where the file has outcomes. threshold: what decides where no column does.
    """

    id: str | None
    entity: str | None
    score: str
    decision: str | None
    threshold: float | None
    positive: str | None
    outcome: str | None
    observed_at: str | None
    contract: Mapping[str, str]

    @property
    def read(self) -> list[str]:
        """The file's columns that are needed."""
        others = (self.id, self.entity, self.score, self.decision, self.outcome, self.observed_at)
        return list(dict.fromkeys([*self.contract.values(), *(name for name in others if name is not None)]))

    def to_dict(self) -> dict[str, object]:
        """Plain JSON: what is what; inputs only where they are called otherwise."""
        return {
            "id": self.id,
            "entity": self.entity,
            "score": self.score,
            "decision": self.decision,
            "threshold": self.threshold,
            "positive": self.positive,
            "outcome": self.outcome,
            "observed_at": self.observed_at,
            "renamed": {name: column for name, column in self.contract.items() if name != column},
        }


def history_columns(
    names: Sequence[str], said: SaidColumns, *, model: Model, bundle: Bundle, source: str
) -> HistoryColumns:
    """The columns of a file for a version. Raises UsageError or ContractViolation with all that is missing at once."""
    _refuse_unknown(names, said, source)
    decides = get_task(bundle.manifest.task).decides
    identity, entity = bundle.contract.only("id"), bundle.contract.only("entity")
    score = said.score or _guess(names, _score_names(model, decides=decides))
    if score is None:
        others = [name for name in names if name not in bundle.contract.names] or list(names)
        raise UsageError(
            f"which column of {source} is the score? None is called {', '.join(_SCORE[:3])} or the like: say --score "
            f"COLUMN. Besides what a row is, it has {', '.join(others[:30])}. Rows without a score: everloop score"
        )
    decision = said.decision
    if decides and decision is None and said.threshold is None:
        decision = _guess(names, _DECISION, but=score)
    target = bundle.contract.only("target")
    texts = ("outcome_text",) if target is not None and target.type == "string" else ()
    outcome = said.outcome or _guess(names, (model.data.target, *texts, *_OUTCOME))
    found_id = said.id or _guess(names, _ID if identity is None else (identity.name, *_ID))
    if identity is not None and found_id is None:
        raise ContractViolation(
            f"{source} has no column {identity.name!r}, the id of {model.name}/model.yaml; say which holds it: --id "
            "COLUMN. By it a row counts once, and its outcome finds it"
        )
    contract = _contract_columns(names, said, bundle, source, identity=found_id, outcome=outcome)
    threshold = said.threshold if said.threshold is not None else bundle.threshold
    return HistoryColumns(
        id=found_id,
        entity=said.entity or (None if entity is None else contract.get(entity.name)),
        score=score,
        decision=decision if decides else None,
        threshold=threshold if decides and decision is None else said.threshold,
        positive=said.positive,
        outcome=outcome,
        observed_at=None if outcome is None else said.observed_at or _guess(names, _OBSERVED),
        contract=contract,
    )


def _refuse_unknown(names: Sequence[str], said: SaidColumns, source: str) -> None:
    asked = (said.id, said.time, said.entity, said.score, said.decision, said.outcome, said.observed_at)
    wrong = [name for name in (*asked, *said.inputs.values()) if name is not None and name not in names]
    if wrong:
        told = "; ".join(f"{source} has no column {name!r}{did_you_mean(name, names)}" for name in dict.fromkeys(wrong))
        raise UsageError(f"{told}; it has {', '.join(names[:40])}")
    if said.decision is not None and said.threshold is not None:
        raise UsageError("the decision is in a column or follows from a threshold: say --decision or --threshold")


def _score_names(model: Model, *, decides: bool) -> tuple[str, ...]:
    """What a column of scores is called, the likeliest first."""
    target = model.data.target
    of = dict.fromkeys((model.name, target, model.positive_label))
    own = tuple(name for one in of for name in (f"{one}_score", f"{one}_probability", f"{one}_proba", f"p_{one}"))
    return (*_SCORE, *own) if decides else (*_SCORE, *own, *_NUMBER)


def _guess(names: Iterable[str], wanted: Sequence[str], *, but: str | None = None) -> str | None:
    """The first wanted name that a column has, whatever its case."""
    spelt = {name.lower(): name for name in names if name != but}
    return next((spelt[name.lower()] for name in wanted if name.lower() in spelt), None)


def _contract_columns(
    names: Sequence[str], said: SaidColumns, bundle: Bundle, source: str, *, identity: str | None, outcome: str | None
) -> dict[str, str]:
    """The contract's column → the file's: by what was said, by its name, or as an export of the log calls it."""
    contract = bundle.contract
    _refuse_no_input(said, contract.names_at_prediction())
    time, entity, target = contract.only("time"), contract.only("entity"), contract.only("target")
    roles = {one.name: column for one, column in ((time, said.time), (entity, said.entity)) if one and column}
    found: dict[str, str] = {}
    missing: list[str] = []
    for column in contract.columns:
        if not column.at_prediction:
            continue
        if column.role == "id":
            if identity is not None:
                found[column.name] = identity
            continue
        given = said.inputs.get(column.name) or roles.get(column.name)
        here = given or next((name for name in (column.name, f"in_{column.name}") if name in names), None)
        if here is not None:
            found[column.name] = here
        elif column.role in ("time", "entity") or column.name in bundle.features.columns:
            missing.append(f"{column.name!r}{did_you_mean(column.name, names)}")
    if missing:
        option = f"--input {missing[0].split(chr(39))[1]}=COLUMN"
        raise ContractViolation(
            f"{source} lacks what the version reads of a row: {', '.join(missing)}; where it is called otherwise say "
            f"--time, --entity or {option}. It has {', '.join(names[:40])}"
        )
    if outcome is not None and target is not None:
        found[target.name] = outcome
    return found


def _refuse_no_input(said: SaidColumns, known: Sequence[str]) -> None:
    wrong = [name for name in said.inputs if name not in known]
    if wrong:
        raise UsageError(f"--input {wrong[0]}=…: the contract has no such column{did_you_mean(wrong[0], known)}")
