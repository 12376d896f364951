"""The same spec, data and seed give the same bundle id: law 11, on processes that share nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from everloop.bundle import BundleStore
from everloop.clock import SimulatedClock
from everloop.ledger import Ledger, Version
from everloop.project import Project

from ..cli.terminal import environment
from .shop import NOW, add_spec, shop

ROOT = Path(__file__).parents[2]


def trained_by_a_fresh_process(root: Path, cwd: Path, *, run: str, hash_seed: str, learner: str) -> Version:
    """Another project, folder, process, run, hash seed and time of day; the same rows, spec and seed."""
    found, _ = shop(root, learner=learner, gates="train: {holdout: 20%}\ngates: [recall >= 0.05]\n")
    cwd.mkdir(parents=True)
    more = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    program = [sys.executable, "-m", "tests.production.shop", str(root), run, "never"]
    done = subprocess.run(
        program, cwd=cwd, env=environment() | more, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    with Ledger.open(found, clock=SimulatedClock(NOW)) as ledger:
        return ledger.version("fraud", 1)


@pytest.mark.parametrize("learner", ["lightgbm", "xgboost", "random_forest"])
def test_two_fresh_processes_end_in_the_same_bundle(tmp_path: Path, learner: str) -> None:
    one = trained_by_a_fresh_process(tmp_path / "a" / "shop", tmp_path / "x", run="r-1", hash_seed="1", learner=learner)
    two = trained_by_a_fresh_process(
        tmp_path / "b" / "other", tmp_path / "y" / "deep", run="r-2", hash_seed="4242", learner=learner
    )
    assert one.run != two.run
    assert one.bundle == two.bundle
    files = [
        {
            path.name: path.read_bytes()
            for path in BundleStore(root / ".everloop" / "bundles").path(one.bundle).glob("*.*")
        }
        for root in (tmp_path / "a" / "shop", tmp_path / "b" / "other")
    ]
    assert files[0] == files[1]
    assert one.data is not None
    assert two.data is not None
    assert one.data["hash"] == two.data["hash"]


def test_another_seed_or_other_rows_are_another_bundle(tmp_path: Path) -> None:
    """So that the id says something: it is not the same whatever goes in."""
    from .shop import train

    ids = []
    for name, options in (("a", {}), ("b", {"seed": 1}), ("c", {"rows": 9_000})):
        found, model = shop(tmp_path / name, rows=int(options.get("rows", 10_000)))
        add_spec(model, 1, seed=options.get("seed", 0))
        result = train(Project.open(found.root, environment={}), run_id="r-1")
        assert result.status == "finished", result.sentence
        with Ledger.open(found, clock=SimulatedClock(NOW)) as ledger:
            ids.append(ledger.version("fraud", 1).bundle)
    assert len(set(ids)) == 3
