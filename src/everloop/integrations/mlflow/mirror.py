"""The mirror itself: a cursor over the ledger's facts, kept in MLflow, where what it stands for is kept too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from everloop.clock import Clock
from everloop.errors import IntegrationError, NotFound
from everloop.integrations.mlflow.connection import Connection, connect, error_code, said, shown
from everloop.integrations.mlflow.evidence import Evidence
from everloop.integrations.mlflow.registry import Registry
from everloop.integrations.mlflow.runs import Runs, experiment_of
from everloop.integrations.mlflow.searches import Searches
from everloop.ledger import Fact, Ledger
from everloop.project import Project, exclusively

if TYPE_CHECKING:
    from everloop.experiment import ForeignRun

__all__ = ["CURSOR", "Mirror"]

CURSOR: Final = "everloop.cursor"
_KINDS: Final = (
    "routing.changed",
    "run.cancelled",
    "run.configured",
    "run.failed",
    "run.finished",
    "run.refused",
    "run.started",
    "run.step",
    "search.ended",
    "version.registered",
)
_AT_ONCE: Final = 50
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
# MLflow will refuse such a fact whenever it is asked: it is told once and passed over, the others go on.
_FOR_GOOD: Final = frozenset(
    {"INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """MLflow while it answers. experiment: the project's own, whose tag is the cursor."""

    connection: Connection
    experiment: str
    runs: Runs
    registry: Registry
    searches: Searches
    evidence: Evidence


class Mirror:
    """Follows the ledger into MLflow.

    The cursor is a tag of the experiment `everloop/PROJECT`: it holds the last mirrored fact's seq and hash. So it
    survives this process and this machine, an emptied MLflow is filled again, and another ledger of the same name
    begins at its own first fact. It moves after the fact is written; a fact that is written twice changes nothing.
    """

    def __init__(self, project: Project, ledger: Ledger, clock: Clock) -> None:
        """Reaches nothing before the first `sync`."""
        self._project = project
        self._ledger = ledger
        self._clock = clock
        self._address = project.settings.mlflow
        self._open: _Open | None = None
        self._seen = 0
        self._problem: tuple[str, ...] | None = None
        self._pause_s = _FIRST_PAUSE_S
        self._not_before_s: float | None = None

    @classmethod
    def wanted(cls, project: Project) -> bool:
        """Whether everloop.yaml has `mlflow:`."""
        return project.settings.mlflow is not None

    @classmethod
    def tracked_run(cls, project: Project, run: str) -> ForeignRun:
        """A run that someone logged by hand. Raises UsageError without `mlflow:`, NotFound, IntegrationError."""
        from everloop.integrations.mlflow.foreign import foreign_run

        return foreign_run(project, run)

    def sync(self) -> int:
        """Mirror up to 50 more facts and give how many.

        Raises IntegrationError once when MLflow begins to fail; then it is asked again after 1, 2, 4 … 60 s. Raises
        it too for facts that MLflow refuses for good: they are passed over.
        """
        if self._address is None or self._ledger.head().seq <= self._seen or self._pausing():
            return 0
        try:
            with said(self._address), exclusively(self._project.state / "mlflow.lock"):
                done, refused = self._mirror_next(self._opened(self._address))
        except IntegrationError as error:
            return self._failed(error)
        self._problem, self._pause_s, self._not_before_s = None, _FIRST_PAUSE_S, None
        if refused:
            raise IntegrationError(
                f"MLflow at {shown(self._address)} refused {len(refused)} of {done} facts, which are left out of the "
                f"mirror; the others are in it. The first was {refused[0]}"
            )
        return done

    def close(self) -> None:
        """Forget the connection; the cursor stays where it is."""
        self._open = None
        self._seen = 0

    def _pausing(self) -> bool:
        return self._not_before_s is not None and self._clock.monotonic_s() < self._not_before_s

    def _failed(self, error: IntegrationError) -> int:
        """Say a problem once; 0 while it lasts."""
        self._open = None
        self._not_before_s = self._clock.monotonic_s() + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        cause = error.__cause__
        # an error's text may differ each time: it can hold an object's address
        problem = (str(error),) if cause is None else (type(cause).__name__, str(error_code(cause)))
        if problem == self._problem:
            return 0
        self._problem = problem
        raise IntegrationError(
            f"{error}. Nothing is lost: the mirror goes on where it was when MLflow answers again"
        ) from cause

    def _opened(self, address: str) -> _Open:
        if self._open is None:
            connection = connect(address, root=self._project.root, state=self._project.state)
            experiment = experiment_of(connection, self._project.name, None)
            self._open = _Open(
                connection=connection,
                experiment=experiment.experiment_id,
                runs=Runs(connection, self._project, self._ledger),
                registry=Registry(connection, self._project, self._ledger),
                searches=Searches(connection, self._project, self._ledger),
                evidence=Evidence(connection, self._project),
            )
        return self._open

    def _mirror_next(self, opened: _Open) -> tuple[int, list[str]]:
        """Write the next facts; gives how many they were, and a sentence for each that MLflow refuses for good."""
        head = self._ledger.head().seq
        facts = self._ledger.facts(kind=_KINDS, after=self._cursor(opened), limit=_AT_ONCE)
        refused: list[str] = []
        for fact in facts:
            refused += self._mirrored(opened, fact)
            opened.connection.client.set_experiment_tag(opened.experiment, CURSOR, f"{fact.seq}:{fact.hash}")
        if len(facts) < _AT_ONCE:
            self._seen = head
        return len(facts), refused

    def _cursor(self, opened: _Open) -> int:
        """The seq of the last mirrored fact; 0 where there is none, or where it is one of another ledger."""
        tag = opened.connection.client.get_experiment(opened.experiment).tags.get(CURSOR, "0:")
        seq, _, kept = tag.partition(":")
        try:
            return int(seq) if self._ledger.fact(int(seq)).hash == kept else 0
        except (NotFound, ValueError):
            return 0

    def _mirrored(self, opened: _Open, fact: Fact) -> Sequence[str]:
        """Write one fact; gives a sentence where MLflow refuses it for good."""
        try:
            if fact.kind == "routing.changed":
                opened.registry.route(fact)
                return ()
            if fact.kind == "search.ended":
                opened.searches.write(fact)
                return ()
            run = opened.runs.write(fact)
            if fact.kind in ("version.registered", "run.refused"):
                opened.evidence.write(fact, run)
            if fact.kind == "version.registered":
                opened.registry.register(fact, run)
        except Exception as error:
            if error_code(error) not in _FOR_GOOD:
                raise
            return (f"fact {fact.seq} ({fact.kind} {fact.subject}): {_first_line(error)}",)
        return ()


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
