"""How control has an alert investigated and answered: the one place that calls the room `improvement`."""

from __future__ import annotations

from typing import Any

from everloop.control.resources import Resources
from everloop.ledger import AlertState
from everloop.project import Spec

__all__ = ["Answering"]


class Answering:
    """Keeps what an investigation found until its proposal is written; after a crash it is made once more."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._made: dict[str, Any] = {}

    def investigate(self, alert: AlertState) -> str:
        """Investigate; the sentence of what was found."""
        from everloop.data import read_contract
        from everloop.improvement import investigate
        from everloop.production import everything_known

        resources = self._resources
        model, log, now = resources.model(alert.model), resources.log(alert.model), resources.clock.now()
        made = investigate(
            model,
            alert,
            ledger=resources.ledger,
            log=log,
            bundles=resources.bundles,
            known=everything_known(model, read_contract(model), log, as_of=now),
            clock=resources.clock,
            out=resources.project.state / "investigations" / alert.alert,
        )
        self._made[alert.alert] = made
        return str(made.sentence)

    def propose(self, alert: AlertState) -> Spec:
        """The spec that answers the alert, written beside its parent."""
        from everloop.improvement import propose

        if alert.alert not in self._made:
            self.investigate(alert)
        proposal = propose(
            self._resources.model(alert.model),
            alert,
            self._made[alert.alert],
            ledger=self._resources.ledger,
            clock=self._resources.clock,
        )
        spec: Spec = proposal.spec
        return spec
