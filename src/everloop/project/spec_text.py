"""A spec as the text that people review: every block with what it means, in which unit, and what changing it does."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any, Final

from everloop.project.document import dump_yaml

__all__ = ["commented"]

_WIDTH: Final = 100
_ROOM: Final = 16
"""For the word in which a line of YAML passes the column that it is to be folded at."""

_ABOUT: Final[Mapping[str, str]] = {
    "objective": "What best means, as model.yaml said it when this was found. Everything below was chosen by it; "
    "another one asks for another search.",
    "learner": "The algorithm that is fitted. With another one no setting and no number below holds.",
    "hyperparameters": "Its settings; what is not named has its default. A changed one is trained as it stands, and "
    "nothing that is expected below was measured with it.",
    "features": "What a row is for the model, in this order, by name from contract.yaml and features.py. "
    "One taken away is not trained on; an empty list means all there are.",
    "calibration": "How scores become probabilities. A run fits it on its own validation rows: the named map, or with "
    "auto the one, if any, that they surely ask for; none leaves the scores as they are.",
    "threshold": "A score of at least this is a positive decision. From 0 to 1, chosen on validation rows, and what "
    "the expected performance holds for. A run, whose model saw other rows, chooses its own for the objective, so "
    "changing it here moves no decision. null: nothing is decided.",
    "quantiles": "What is answered beside the score, in the target's unit: of the outcomes one in ten lies below p10, "
    "half of them below p50.",
    "seed": "Of all that is drawn at random. With the same data, settings and libraries it gives the same model.",
    "expected": "What it promises, measured once, on the test rows, which had no part in any choice: each metric with "
    "the ends of its interval, which hold the truth in 19 of 20 cases at a level of 0.95. Shares are from 0 to 1, "
    "errors in the target's unit, costs per row at the objective's prices. {}: nothing was measured.",
    "yardsticks": "What simple models reach on the same test rows. A model that does no better is not worth its keep.",
    "data": "The rows it was found on: how many in all, and to train, to validate (in all folds) and to test; how many "
    "positives; the first and the last time, in UTC; the hash of their content. A run reads the rows of its own day.",
    "source": "The store that it arrived from, the version that it has there, and who wrote it.",
    "parent": "The spec that production trained from when this was found; null for a first one.",
    "reason": "Why it exists.",
    "diff": "What is other than in the parent: the key, what it was and what it is.",
    "created_at": "When it was written, in UTC.",
    "approval": "Who answers for it, since when, and the hash of what was approved. The ledger's fact decides, and "
    "this is its copy: a name written here by hand approves nothing.",
}


def commented(name: str, values: Mapping[str, Any], *, width: int | None = None) -> str:
    """The spec's plain values as YAML with comments, in their own order; the same values give the same text.

    width: columns, for a screen that is narrower than a file's lines; None is as files have it.
    """
    head = (
        f"{name}: what production trains. Review it, then: everloop approve {name} --by NAME",
        "A changed key gives another hash, and with it asks for another approval; comments have no part in it.",
    )
    told = "".join(f"# {line}\n" if width is None else f"{_comment(line, width)}\n" for line in head)
    return told + "".join(_block(key, value, width) for key, value in values.items())


def _block(key: str, value: object, width: int | None) -> str:
    about = _ABOUT.get(key)
    # YAML folds between words, after the column that it is told
    written = dump_yaml({key: value}) if width is None else dump_yaml({key: value}, width=width - _ROOM)
    return written if about is None else f"\n{_comment(about, _WIDTH if width is None else width)}\n{written}"


def _comment(text: str, width: int) -> str:
    return textwrap.fill(text, width, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
