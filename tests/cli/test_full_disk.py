"""A disk that is full: one sentence that says so, and the project as it was."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..experiment.made import payments
from ..production.shop import shop
from .terminal import everloop


@pytest.fixture
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB, or of as many as are asked for."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={getattr(request, 'param', 3)}m", "tmpfs", str(place)],
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("only root may make a small disk, and not in every container")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """A file that takes all the room that is left."""
    path = place / "filler"
    with path.open("wb", buffering=0) as handle, contextlib.suppress(OSError):
        while True:
            handle.write(bytes(4096))
    assert shutil.disk_usage(place).free == 0
    return path


def test_every_command_says_that_the_disk_is_full_and_leaves_the_project_as_it_was(small: Path) -> None:
    payments(2_000, positives=0.2).write_parquet(small.parent / "pay.parquet")
    assert everloop("init", "shop", "--data", "../pay.parquet", cwd=small).code == 0
    shop = small / "shop"
    filler = fill(small)
    before = {path: path.read_bytes() for path in shop.rglob("*") if path.is_file()}
    for words in (("explore",), ("search", "--trials", "1"), ("status",), ("train",), ("audit", "verify"), ("up",)):
        ended = everloop(*words, cwd=shop)
        assert (ended.code, ended.out) == (1, ""), words
        assert "is full" in ended.err, words
        assert "free some space" in ended.err, words
        assert "backup" not in ended.err, words
    assert {path: path.read_bytes() for path in shop.rglob("*") if path.is_file() and path in before} == before
    filler.unlink()
    assert everloop("audit", "verify", cwd=shop).code == 0


def test_a_project_that_does_not_fit_is_not_begun(small: Path) -> None:
    ended = everloop("init", "shop", cwd=small)
    assert ended.code == 1
    assert "everloop: the disk is full" in ended.err
    assert list(small.iterdir()) == []


FILLING = """
from pathlib import Path
from everloop import Verdict


def fill_the_disk(evidence):
    \"\"\"What another program on this disk may do while a model is judged; once.\"\"\"
    once = Path({once!r})
    if not once.exists():
        once.touch()
        with open({filler!r}, "wb", buffering=0) as handle:
            try:
                while True:
                    handle.write(bytes(4096))
            except OSError:
                handle.truncate(handle.tell() - 65536)  # the verdict itself still fits
    return Verdict.passed("it was judged")
"""


@pytest.mark.parametrize("small", [48], indirect=True)
def test_a_disk_that_fills_up_between_package_and_register_loses_no_run(small: Path) -> None:
    root = small / "shop"
    filler = small / "filler"
    _, model = shop(root, gates="train: {holdout: 20%}\n", rows=3_000)
    (model.folder / "gates.py").write_text(FILLING.format(filler=str(filler), once=str(small.parent / "once")))
    with (model.folder / "model.yaml").open("a") as handle:
        handle.write("gates: [gates.fill_the_disk]\n")
    assert everloop("approve", "fraud-s1", "--by", "alice", cwd=root).code == 0
    ended = everloop("train", cwd=root)
    assert ended.code == 1
    assert "is full" in ended.err
    assert "free some space" in ended.err
    (left,) = everloop("run", "list", "--json", cwd=root).json
    assert f"'everloop run resume {left['run']}' goes on with it" in ended.err
    assert left["status"] == "running"
    fitted = root / ".everloop" / "runs" / left["run"] / "candidate.onnx"
    written_ns = fitted.stat().st_mtime_ns
    filler.unlink()
    resumed = everloop("run", "resume", left["run"], cwd=root)
    assert resumed.code == 0, resumed.err
    assert fitted.stat().st_mtime_ns == written_ns  # what was done is not done again
    (after,) = everloop("run", "list", "--json", cwd=root).json
    assert (after["run"], after["status"]) == (left["run"], "finished")
    assert everloop("audit", "verify", cwd=root).code == 0
    (version,) = everloop("model", "list", "--json", cwd=root).json
    assert (version["number"], version["run"]) == (1, left["run"])
