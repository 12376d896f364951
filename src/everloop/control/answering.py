"""How control has an alert investigated and answered: the one place that calls the room `improvement`."""

from __future__ import annotations

from everloop.control.resources import Resources
from everloop.errors import NotFound
from everloop.ledger import AlertState
from everloop.project import Spec

__all__ = ["investigated", "proposed"]


def investigated(resources: Resources, alert: AlertState) -> str:
    """Investigate; the sentence of what was found."""
    from everloop.data import read_contract
    from everloop.improvement import investigate
    from everloop.production import everything_known

    model, log, now = resources.model(alert.model), resources.log(alert.model), resources.clock.now()
    made = investigate(
        model,
        alert,
        ledger=resources.ledger,
        log=log,
        bundles=resources.bundles,
        known=everything_known(model, read_contract(model), log, as_of=now),
        clock=resources.clock,
        out=resources.project.state / "investigations",
        root=resources.project.root,
    )
    return made.sentence


def proposed(resources: Resources, alert: AlertState) -> Spec:
    """The spec that answers the alert, written beside its parent. Raises NotFound before its investigation."""
    from everloop.improvement import Investigation, propose

    if alert.investigation is None:
        raise NotFound(f"alert {alert.alert} has no investigation to propose from")
    made = Investigation.of(resources.ledger.fact(alert.investigation))
    model = resources.model(alert.model)
    return propose(model, alert, made, ledger=resources.ledger, clock=resources.clock).spec
