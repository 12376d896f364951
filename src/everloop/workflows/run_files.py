"""What a run leaves in its folder, kept where every machine that may go on with it finds it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from everloop.storage import Storage, check_key

__all__ = ["RunFiles"]


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The runs' folders in a storage, under `runs/`. A folder here is a copy of what was written or needed here."""

    storage: Storage
    _sent: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def send(self, workdir: Path) -> None:
        """Put there what is new or changed in a run's folder; drafts, whose names begin with a dot, stay here."""
        for path in sorted(workdir.rglob("*")):
            name = path.relative_to(workdir)
            if not path.is_file() or any(part.startswith(".") for part in name.parts):
                continue
            stands = (path.stat().st_size, path.stat().st_mtime_ns)
            if self._sent.get(path) != stands:
                self.storage.write(f"runs/{workdir.name}/{name.as_posix()}", path)
                self._sent[path] = stands

    def fetch(self, workdir: Path) -> None:
        """Copy a run's folder here, as the last step that ended left it; what an older attempt left here gives way."""
        prefix = f"runs/{workdir.name}/"
        for entry in self.storage.list(prefix):
            path = workdir / check_key(entry.key.removeprefix(prefix))
            found = self.storage.open(entry.key)
            if found is None:
                continue  # it was removed meanwhile
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.fetched")
            with found as stream, draft.open("wb") as handle:
                shutil.copyfileobj(stream, handle)
            draft.replace(path)
