"""The params of a run that someone logged by hand → hyperparameters: what it said, and what its library does unsaid.

A library's defaults are not ours: XGBoost learns at a rate of 0.3 where nothing is said, and a forest of scikit-learn
grows without a limit. A run cannot be corrected, so what cannot be said here is left out with a note, not refused.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from everloop.models.learner import Learner
from everloop.models.params import NOT_HERE, resolve_params
from everloop.models.space import Choice, Hyperparameter, Int, Value

__all__ = ["ForeignParams", "foreign_params", "said_value"]

_SEEDS: Final = ("random_state", "seed", "random_seed")
_NO_LIMIT: Final = ("max_depth", "tree_rows")
"""What no number, or none above 0, leaves without a limit."""
_UNLIMITED: Final = "is no limit"
_THEIRS: Final[Mapping[str, Mapping[str, object]]] = {
    "xgboost": {"learning_rate": 0.3, "max_bin": 256},
    "lightgbm": {"max_depth": -1, "reg_lambda": 0.0},
    "random_forest": {
        "max_depth": None,
        "min_child_samples": 1,
        "max_features": "sqrt",
        "tree_rows": None,
        "scale_pos_weight": 1.0,
    },
    "neural_network": {"hidden": (100,), "learning_rate": 0.001, "epochs": 200, "batch_size": "auto"},
    "linearregression": {"reg_lambda": 0.0},
}
"""What a library takes where nothing is said, in its own words, where that is not our default."""
_LIBRARIES: Final = {"xgboost": "XGBoost", "lightgbm": "LightGBM"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignParams:
    """values: every hyperparameter, by canonical name. seed: None where the run does not say it. notes: for people."""

    values: Mapping[str, Value]
    seed: int | None
    notes: tuple[str, ...]


def foreign_params(
    item: Learner, params: Mapping[str, str], *, called: str, columns: int, regression: bool = False
) -> ForeignParams:
    """The learner's hyperparameters as the run had them, with a note for all that is otherwise here.

    called: what the run calls the learner, in small letters. columns: of the matrix, > 0.
    """
    reader = _Reader(item=item, columns=columns, notes=[])
    values = {name: said_value(text) for name, text in params.items()}
    seed = next((value for name in _SEEDS if type(value := values.get(name)) is int), None)
    said = reader.said({name: value for name, value in values.items() if name not in _SEEDS})
    theirs = dict(_THEIRS.get(called, _THEIRS.get(item.name, {})))
    if regression and item.name == "random_forest":
        theirs["max_features"] = 1.0
    ours = resolve_params(item, {})
    for name in sorted(theirs.keys() & ours.keys() - said.keys()):
        said[name] = reader.taken(name, theirs[name], ours[name])
    return ForeignParams(values=resolve_params(item, said), seed=seed, notes=tuple(reader.notes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """One learner's words, and the notes about those that it does not have."""

    item: Learner
    columns: int
    notes: list[str]

    def said(self, params: Mapping[str, object]) -> dict[str, Value]:
        """Canonical name → value, of all that the run says and that can be said here."""
        known = {name: one for one in self.item.hyperparameters for name in one.names}
        found: dict[str, Value] = {}
        unknown: list[str] = []
        first = {name: place for place, name in enumerate(known)}  # the canonical name before its aliases
        for name in sorted(params, key=lambda name: (first.get(name, len(first)), name)):
            value = params[name]
            if value is None and (self.item.name, name) != ("random_forest", "max_features"):
                continue  # None: as the library has it
            if _is_idle(name, params):
                continue
            if name in self.item.fixed:
                self._fixed(name, value)
            elif name in NOT_HERE:
                self.notes.append(f"{name}={value} was left out: {NOT_HERE[name].removesuffix('; remove it')}")
            elif name not in known:
                unknown.append(f"{name}={value}")
            else:
                self._take(known[name], name, value, found)
        if unknown:
            self.notes.append(f"left out, as {self.item.name} has nothing of the kind: {', '.join(unknown)}")
        return self._bagged(found, params)

    def taken(self, name: str, theirs: object, ours: Value) -> Value:
        """The library's default for what the run does not say; ours where theirs cannot be said."""
        one = next(one for one in self.item.hyperparameters if one.name == name)
        value, wrong = self._translated(one, name, theirs)
        library = _LIBRARIES.get(self.item.name, "scikit-learn")
        if value is None:
            self.notes.append(f"{name} is {ours}: what {library} takes where nothing is said, {theirs}, {wrong}")
            return ours
        like = f"{library}, which has no limit" if wrong == _UNLIMITED else library
        self.notes.append(f"{name} is {value}, as in {like} where nothing is said; otherwise it is {ours} here")
        return value

    def _fixed(self, name: str, value: object) -> None:
        allowed = self.item.fixed[name]
        if value not in allowed:
            self.notes.append(f"{name}={value} was left out: {self.item.name} is fitted with {allowed[0]!r}")

    def _take(self, one: Hyperparameter, name: str, value: object, found: dict[str, Value]) -> None:
        ours, wrong = self._translated(one, name, value)
        if ours is None:
            self.notes.append(f"{name}={value} was left out: it {wrong}")
        elif one.name in found:
            if ours != found[one.name]:
                self.notes.append(f"{name}={value} was left out: {one.name} is said too, as {found[one.name]}")
        else:
            found[one.name] = ours
            if wrong is not None:
                self.notes.append(f"{name}={value} {wrong}; it is {ours} here")

    def _translated(self, one: Hyperparameter, name: str, value: object) -> tuple[Value | None, str | None]:
        """Our value, None where there is none, and what is to be said of it, as the end of a sentence."""
        if one.name == "max_features" and not isinstance(value, float):
            return self._share_of_columns(one, value)
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
        if one.name in _NO_LIMIT and (value is None or (number is not None and number <= 0)):
            return int(one.maximum), _UNLIMITED
        ours, wrong = one.said(name, value)
        if wrong is None and isinstance(ours, float | int | str | bool):
            return one.clean(ours), None
        whole = number is not None and math.isfinite(number) and number == int(number)
        if number is None or isinstance(one.search, Choice) or (isinstance(one.search, Int) and not whole):
            return None, wrong
        return one.clean(min(max(number, one.minimum), one.maximum)), wrong

    def _share_of_columns(self, one: Hyperparameter, value: object) -> tuple[Value | None, str | None]:
        """scikit-learn's words for how many columns a split looks at: a root, a logarithm, a number of them, all."""
        many = {None: self.columns, "auto": math.sqrt(self.columns), "sqrt": math.sqrt(self.columns),
                "log2": max(math.log2(self.columns), 1.0)}  # fmt: skip
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            count: float = value
        elif value is None or (isinstance(value, str) and value in many):
            count = many[value]
        else:
            return None, "is not a share of the features"
        share = math.ceil(count / self.columns * 1e4) / 1e4  # up, so that it comes to no column less
        return min(max(share, one.minimum), one.maximum), f"is a share of {self.columns} features"

    def _bagged(self, found: dict[str, Value], params: Mapping[str, object]) -> dict[str, Value]:
        """LightGBM draws no rows where it is to do so every 0 rounds, whatever share it is given."""
        often = [params[name] for name in ("subsample_freq", "bagging_freq") if name in params]
        share = found.get("subsample", 1.0)
        if self.item.name == "lightgbm" and often == [0] and share != 1.0:
            self.notes.append(f"subsample={share} had no effect in LightGBM, as it drew every 0 rounds; it is 1.0 here")
            found["subsample"] = 1.0
        return found


def _is_idle(name: str, params: Mapping[str, object]) -> bool:
    """scikit-learn's rounds of patience, where it was not to stop early."""
    return name == "n_iter_no_change" and params.get("early_stopping") is False


def said_value(text: str) -> object:
    """The value as it was before a tracker or a store made text of it: `7`, `0.15`, `true`, `none`, or a word."""
    words = {"true": True, "false": False, "none": None, "null": None, "": None, "nan": None}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    try:
        found: object = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text
    return list(found) if isinstance(found, tuple) else found
