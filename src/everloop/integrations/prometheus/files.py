"""The files that lie beside this one, and their way to where they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from everloop.errors import UsageError
from everloop.pages import write_whole

__all__ = ["FILES", "copy_files"]

FILES: Final = ("dashboard.json", "rules.yml")


def copy_files(folder: Path) -> list[Path]:
    """Write the files into `folder`, which is made where it is missing; where they are now.

    A file of the same name is replaced, whole or not at all. Raises UsageError where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            write_whole(folder / name, (Path(__file__).parent / name).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror}); name another folder") from error
    return [folder / name for name in FILES]
