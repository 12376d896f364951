"""What is other in one spec than in another."""

from __future__ import annotations

from typing import Any

from everloop.project.spec import Spec

__all__ = ["flat_spec", "spec_diff"]


def flat_spec(spec: Spec) -> dict[str, Any]:
    """What a reviewer asks about, key by key, each hyperparameter under its own."""
    named = {f"hyperparameters.{name}": value for name, value in spec.hyperparameters.items()}
    plain: dict[str, Any] = {
        "learner": spec.learner,
        "objective": spec.objective,
        "threshold": spec.threshold,
        "seed": spec.seed,
    }
    plain |= {"calibration": spec.calibration, "quantiles": list(spec.quantiles)}
    return {**plain, "features": list(spec.features), **named}


def spec_diff(parent: Spec | None, child: Spec) -> dict[str, Any]:
    """key → {from, to}, for what a reviewer asks about."""
    if parent is None:
        return {}
    before, after = flat_spec(parent), flat_spec(child)
    keys = sorted(before.keys() | after.keys())
    return {key: {"from": before.get(key), "to": after.get(key)} for key in keys if before.get(key) != after.get(key)}
