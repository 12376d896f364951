"""The store that needs nothing: the specs of a model's folder, reviewed in version control."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from everloop.errors import NotFound, UsageError
from everloop.production.configuration import Configuration
from everloop.project import FILES, Model, Spec, exclusively, write_spec

__all__ = ["FileSpecs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSpecs:
    """`fraud/specs/fraud-s1.yaml`, `fraud-s2.yaml` …: a version is a spec's name, and the newest holds.

    Who wrote a file, the file does not say: its owner here is who has it on this machine.
    """

    model: Model

    @property
    def address(self) -> str:
        """`files`."""
        return FILES

    def get(self, version: str | None = None) -> Configuration:
        """The newest spec, or the one called `fraud-s2` or `s2`. Raises NotFound."""
        if version is not None:
            return self._configuration(self.model.spec(version))
        specs = self.model.specs()
        if not specs:
            raise NotFound(f"{self.model.name} has no spec yet; 'everloop search' finds one")
        return self._configuration(specs[-1])

    def put(self, spec: Spec, *, actor: str, label: str | None = None) -> Configuration:
        """Write the spec into the folder, under the next number where its own is taken or leaves a gap."""
        if label is not None:
            raise UsageError(f"a folder of specs has no labels, and the newest holds; leave --label {label} out")
        self.model.specs_folder.mkdir(parents=True, exist_ok=True)
        with exclusively(self.model.specs_folder):
            specs = self.model.specs()
            if specs and specs[-1].content == spec.content:
                return self._configuration(specs[-1])
            name = f"{self.model.name}-s{self.model.next_spec_number()}"
            written = spec.model_copy(update={"name": name, "approval": None})
            write_spec(self.model.spec_path(written.number), written)
        return self._configuration(written)

    def history(self) -> list[Configuration]:
        """Every spec of the folder, by number."""
        return [self._configuration(spec) for spec in self.model.specs()]

    def _configuration(self, spec: Spec) -> Configuration:
        path = self.model.spec_path(spec.number)
        at = spec.created_at
        if at is None:
            at = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
        try:
            owner = path.owner()
        except (KeyError, OSError):  # a user that this machine has no name for
            owner = ""
        return Configuration.of(spec, store=FILES, version=spec.name, modifier=owner, at=at)
