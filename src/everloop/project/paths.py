"""Where everloop writes in a project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Paths"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The places under `.everloop`. Nothing is made by asking for a path. artifacts: where bundles lie instead."""

    state: Path
    artifacts: Path | None = None

    @property
    def ledger_db(self) -> Path:
        """The ledger, where it is SQLite's."""
        return self.state / "ledger.db"

    @property
    def ledger_head(self) -> Path:
        """The ledger's newest hash, outside of it."""
        return self.state / "ledger.head"

    @property
    def runs_db(self) -> Path:
        """The workflow engine's database."""
        return self.state / "runs.db"

    @property
    def spool(self) -> Path:
        """Folder of the endpoint workers' spools."""
        return self.state / "spool"

    @property
    def traffic(self) -> Path:
        """Folder of the traffic tables; beside the bundles where machines share those."""
        return self.state / "traffic" if self.artifacts is None else self.artifacts / "traffic"

    @property
    def bundles(self) -> Path:
        """Root of the bundle store."""
        return self.state / "bundles" if self.artifacts is None else self.artifacts

    @property
    def runs(self) -> Path:
        """Folder of what runs leave: snapshots, evidence, reports; beside the bundles where machines share those."""
        return self.state / "runs" if self.artifacts is None else self.artifacts / "runs"

    @property
    def scored(self) -> Path:
        """Folder of what was scored in batch, a table for each model, where its model.yaml names no other."""
        return self.state / "scored"

    @property
    def slots(self) -> Path:
        """Folder of the locks by which the workers of this machine know each other."""
        return self.state / "slots"

    @property
    def logs(self) -> Path:
        """Folder of the processes' logs."""
        return self.state / "logs"

    @property
    def lock(self) -> Path:
        """The file that `up` holds."""
        return self.state / "up.lock"
