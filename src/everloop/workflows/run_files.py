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
        """Put there what is new or changed in a run's folder; drafts, whose names begin with a dot, stay here.

        What lies deeper goes first: a file at the top may say what is below it.
        """
        for path in sorted(workdir.rglob("*"), key=lambda path: (-len(path.parts), path)):
            name = path.relative_to(workdir)
            if not path.is_file() or any(part.startswith(".") for part in name.parts):
                continue
            stands = (path.stat().st_size, path.stat().st_mtime_ns)
            if self._sent.get(path) != stands:
                self.storage.write(f"runs/{workdir.name}/{name.as_posix()}", path)
                self._sent[path] = stands

    def fetch(self, workdir: Path) -> None:
        """Copy a run's folder here, as the last step that ended left it; what an older attempt left here gives way.

        What lies deeper comes first, as it went.
        """
        prefix = f"runs/{workdir.name}/"
        for entry in sorted(self.storage.list(prefix), key=lambda entry: (-entry.key.count("/"), entry.key)):
            path = workdir / check_key(entry.key.removeprefix(prefix))
            found = self.storage.open(entry.key)
            if found is None:
                continue  # it was removed meanwhile
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.fetched")
            with found as stream, draft.open("wb") as handle:
                shutil.copyfileobj(stream, handle)
            draft.replace(path)

    def has(self, workdir: Path, name: str) -> bool:
        """Whether a file of a run's folder was sent, by whichever machine."""
        key = f"runs/{workdir.name}/{name}"
        return any(entry.key == key for entry in self.storage.list(key))

    def remove(self, workdir: Path, name: str) -> None:
        """Take a file of a run's folder, or all below a folder of it, away from there; what is here stays."""
        key = f"runs/{workdir.name}/{name}"
        for entry in list(self.storage.list(key)):
            if entry.key == key or entry.key.startswith(f"{key}/"):
                self.storage.remove(entry.key)
        for path in [path for path in self._sent if path.is_relative_to(workdir / name)]:
            del self._sent[path]
