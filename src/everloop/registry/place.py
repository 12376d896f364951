"""Where a version's bundle is: on this machine, removed by the rule, or gone without anybody having said so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from everloop.bundle import BundleStore
from everloop.ledger import Ledger, Version
from everloop.project import Project
from everloop.registry.removal import size_text

__all__ = ["BundlePlace", "bundle_place"]

_REMADE_FROM = ("steps/fit.json", "steps/evaluate.json", "candidate.onnx", "snapshot.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePlace:
    """state: here, removed (by the retention rule) or absent. bytes: with its evidence. sentence: what to do about it.

    short: a word or two for a list.
    """

    state: Literal["here", "removed", "absent"]
    sentence: str
    short: str
    bytes: int | None = None


def bundle_place(project: Project, ledger: Ledger, version: Version) -> BundlePlace:
    """What became of the version's bundle. Its sums are not compared here."""
    store = BundleStore.of(project)
    if store.holds(version.bundle):
        size = store.sizes()[version.bundle]
        return BundlePlace(state="here", sentence=f"here, {size_text(size)}", short="here", bytes=size)
    removal = ledger.removal(version.bundle)
    again = _again(project, version)
    if removal is None:
        sentence = f"not on this machine: put its folder back from a copy to {_shown(project, version)}, or {again}"
        return BundlePlace(state="absent", sentence=sentence, short="not here")
    rule = next(one["rule"] for one in removal.payload["removed"] if one["name"] == version.bundle)
    sentence = f"removed on {removal.at:%Y-%m-%d} ({rule}), so it cannot answer any more; {again}"
    return BundlePlace(state="removed", sentence=sentence, short=f"removed {removal.at:%Y-%m-%d}")


def _shown(project: Project, version: Version) -> str:
    folder = project.paths.bundles / "sha256" / version.bundle
    return str(folder.relative_to(project.root) if folder.is_relative_to(project.root) else folder)


def _again(project: Project, version: Version) -> str:
    """How the same bundle is made anew: from what its run left, else by another training."""
    if version.external:
        return f"register it again under another number: 'everloop model add {version.model} --version N'"
    folder = project.paths.runs / version.run
    if all((folder / name).exists() for name in _REMADE_FROM):
        return f"make the same one again: 'everloop run retry {version.run} --from package'"
    lost = " --without-champion" if version.role == "champion" else ""
    return f"train again: 'everloop train {version.model} --spec {version.spec}{lost}'"
