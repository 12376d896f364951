"""An environment with some extras alone: every other installed library is made unimportable, in child processes too."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement

__all__ = ["distribution_name", "environment_with", "libraries"]

ROOT = Path(__file__).parents[1]
BLOCKER = """\
import json, sys
from importlib.machinery import PathFinder
from pathlib import Path

absent = frozenset(json.loads((Path(__file__).parent / "absent.json").read_text()))


class Present(PathFinder):
    # finds what is installed, as if some of it were not

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else PathFinder.find_spec(name, path, target)


sys.meta_path[:] = [Present if finder is PathFinder else finder for finder in sys.meta_path]
"""


def distribution_name(distribution: str) -> str:
    """As registries compare names."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def libraries(*extras: str) -> frozenset[str]:
    """The distributions that everloop with these extras brings, and all that those need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [(text, "") for text in project["dependencies"]]
    waiting += [(text, "") for extra in extras for text in project["optional-dependencies"][extra]]
    found: set[tuple[str, str]] = set()
    while waiting:
        text, parent_extra = waiting.pop()
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": parent_extra}):
            continue
        for extra in ("", *needed.extras):
            if (distribution_name(needed.name), extra) in found:
                continue
            found.add((distribution_name(needed.name), extra))
            try:
                waiting += [(inner, extra) for inner in requires(needed.name) or ()]
            except PackageNotFoundError:
                continue
    return frozenset(name for name, _ in found)


def environment_with(folder: Path, *extras: str) -> dict[str, str]:
    """Variables for a process that can import the base and `extras`, and no other library of this environment."""
    kept = libraries(*extras) | {"everloop", "pip"}
    absent = sorted(
        module
        for module, owners in packages_distributions().items()
        if not kept & {distribution_name(owner) for owner in owners}
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "absent.json").write_text(json.dumps(absent))
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return {"PYTHONPATH": f"{folder}:{ROOT / 'src'}"}
