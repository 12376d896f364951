"""What a version knows of where it came from: files, git, environment, approval, segments."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from everloop.clock import SimulatedClock
from everloop.ledger import DataFile, Ledger
from everloop.production.provenance import code_state, environment, installed
from everloop.production.segments import MOST_VALUES, segment_estimates
from everloop.production.source_files import fingerprint, source_files, sources_of
from everloop.tasks import Evaluation

from ..experiment.made import payments
from ..object_store import ObjectStore, object_store
from .shop import NOW, shop, train


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with object_store("payments") as made:
        yield made


def test_a_version_knows_all_that_it_was_made_from(tmp_path: Path) -> None:
    found, _ = shop(tmp_path / "shop")
    result = train(found, run_id="r-1")
    assert result.status == "finished", result.sentence
    with Ledger.open(found, clock=SimulatedClock(NOW)) as ledger:
        version = ledger.version("fraud", 1)
    origin, data = version.record["origin"], version.data
    assert data is not None
    assert (data["rows"], data["positives"]) == (10_000, 800)
    assert len(data["hash"]) == 64
    assert data["start"] < data["end"]
    path = found.root / "payments.parquet"
    (file,) = origin["sources"]["files"]
    assert file["path"] == "payments.parquet"
    assert file["fingerprint"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (file["bytes"], file["method"], origin["sources"]["changed"]) == (path.stat().st_size, "sha256", False)
    assert (origin["reason"], origin["approved"]["by"]) == ("a test's own", "alice")
    assert origin["configuration"]["learner"] == "lightgbm"
    assert set(origin["configuration"]["features"]) >= {"amount", "amount_log", "night"}
    assert set(origin["code"]["files"]) == {"model.yaml", "contract.yaml", "features.py"}
    assert origin["environment"]["packages"] == len(installed()) > 50
    evidence = found.paths.bundles / "sha256" / version.bundle / "evidence" / "provenance.json"
    assert json.loads(evidence.read_text())["packages"] == list(installed())


def git(folder: Path, *words: str) -> str:
    said = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.com", *words]
    return subprocess.run(said, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_and_whether_the_project_differs_from_it(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "repository" / "shop")
    assert code_state(found.root, model).commit is None
    root = tmp_path / "repository"
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    clean = code_state(found.root, model)
    assert (clean.commit, clean.branch) == (git(root, "rev-parse", "HEAD"), "main")
    assert (clean.dirty, clean.changed) == (False, [])
    (root / "elsewhere.txt").write_text("another project's\n")
    assert code_state(found.root, model).dirty is False
    model.features_path.write_text(model.features_path.read_text() + "\n# a change\n")
    (model.folder / "new.py").write_text("")
    changed = code_state(found.root, model)
    assert changed.dirty is True
    assert sorted(Path(name).name for name in changed.changed) == ["features.py", "new.py"]
    assert changed.files["features.py"] != clean.files["features.py"]


def test_the_environment_is_told_by_what_is_installed_and_by_the_projects_lock(tmp_path: Path) -> None:
    packages = ("a==1", "b==2")
    bare = environment(tmp_path, packages)
    assert bare.lock == hashlib.sha256(b"a==1\nb==2\n").hexdigest()
    assert (bare.packages, bare.lock_file) == (2, None)
    assert environment(tmp_path, ("a==1", "b==3")).lock != bare.lock
    (tmp_path / "uv.lock").write_bytes(b"lock")
    locked = environment(tmp_path, packages)
    assert (locked.lock_file, locked.lock_file_hash) == ("uv.lock", hashlib.sha256(b"lock").hexdigest())
    assert list(installed()) == sorted(installed(), key=lambda line: line.split("==")[0])


def test_a_large_file_is_sampled_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    data = np.random.default_rng(0).bytes(3 << 20)
    path.write_bytes(data)
    whole = fingerprint(path, root=tmp_path)
    sampled = fingerprint(path, root=tmp_path, large_bytes=1 << 20)
    assert (whole.method, sampled.method) == ("sha256", "sampled")
    assert whole.fingerprint == hashlib.sha256(data).hexdigest()
    path.write_bytes(b"x" + data[1:])
    assert fingerprint(path, root=tmp_path, large_bytes=1 << 20).fingerprint != sampled.fingerprint
    path.write_bytes(data + b"x")
    assert fingerprint(path, root=tmp_path, large_bytes=1 << 20).fingerprint != sampled.fingerprint


def test_many_files_are_one_hash_and_the_first_are_named(tmp_path: Path) -> None:
    for n in range(60):
        payments(10, seed=n).write_parquet(tmp_path / f"part-{n:02}.parquet")
    files = source_files("*.parquet", root=tmp_path)
    assert [file.path for file in files] == [f"part-{n:02}.parquet" for n in range(60)]
    told = sources_of(files)
    assert (told.count, len(told.files)) == (60, 50)
    assert told.bytes == sum(path.stat().st_size for path in tmp_path.glob("*.parquet"))
    assert sources_of(reversed(files)) == told
    (tmp_path / "part-59.parquet").write_bytes((tmp_path / "part-58.parquet").read_bytes())
    assert sources_of(source_files("*.parquet", root=tmp_path)).hash != told.hash


def test_a_delta_table_is_its_version(tmp_path: Path) -> None:
    for n in range(3):
        payments(10, seed=n).write_delta(tmp_path / "table", mode="append")
    (table,) = source_files("table", root=tmp_path)
    assert (table.path, table.method, table.fingerprint, table.note) == ("table", "delta", "2", "3 files")
    assert table.bytes == sum(path.stat().st_size for path in (tmp_path / "table").glob("*.parquet"))


def test_objects_are_their_etags_by_a_listing_alone(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.variables.items():
        monkeypatch.setenv(name, value)
    for key in ("scored/1.csv", "scored/2.csv", "scored/deep/3.csv", "other/4.csv"):
        store.put(key, key.encode())
    files = source_files("s3://payments/scored/*.csv", root=Path())
    assert [(file.path, file.bytes, file.method) for file in files] == [
        ("s3://payments/scored/1.csv", 12, "etag"),
        ("s3://payments/scored/2.csv", 12, "etag"),
    ]
    assert files[0].fingerprint == hashlib.md5(b"scored/1.csv").hexdigest()
    assert len(source_files("s3://payments/scored/**/*.csv", root=Path())) == 3
    assert [file.path for file in source_files("s3://payments/scored/2.csv", root=Path())] == [files[1].path]


def test_a_store_that_cannot_be_asked_costs_a_note_and_no_run() -> None:
    (file,) = source_files("gs://bucket/rows/*.parquet", root=Path())
    assert (file.method, file.fingerprint) == ("none", "")
    assert "sha256 of the rows" in file.note


def test_a_source_that_moves_while_it_is_read_is_told(tmp_path: Path) -> None:
    from everloop.production.provenance import Reading

    found, model = shop(tmp_path / "shop", rows=100)
    reading = Reading.begin(model, root=found.root, traffic=found.paths.traffic)
    assert not reading.changed
    payments(101).write_parquet(found.root / "payments.parquet")
    assert reading.changed
    assert isinstance(reading.end()[0], DataFile)


def test_each_value_of_a_segment_has_its_numbers_and_the_rare_ones_are_one_line() -> None:
    rng = np.random.default_rng(0)
    y = rng.random(6_000) < 0.2
    score = np.where(y, 0.6, 0.4) + rng.normal(0, 0.2, y.size)
    evaluation = Evaluation(y=y, score=score, threshold=0.5)
    values = np.array([f"s{min(int(one), 29)}" for one in rng.exponential(6, y.size)])
    found = segment_estimates(evaluation, {"shop": values}, metrics=("recall", "precision"), seed=0)
    assert len(found) == MOST_VALUES + 1
    assert [one.rest for one in found] == [False] * MOST_VALUES + [True]
    assert sum(one.rows for one in found) == y.size
    assert [one.rows for one in found[:-1]] == sorted((one.rows for one in found[:-1]), reverse=True)
    first = found[0]
    of_it = values == first.value
    assert first.metrics["recall"].point == pytest.approx(float((score[of_it & y] >= 0.5).mean()))
    low, high = first.metrics["recall"].low, first.metrics["recall"].high
    assert low is not None
    assert high is not None
    assert low < first.metrics["recall"].point < high  # type: ignore[operator]


def test_what_a_segment_cannot_tell_is_left_out() -> None:
    evaluation = Evaluation(y=np.array([0, 0, 1, 1]), score=np.array([0.1, 0.9, 0.2, 0.8]), threshold=0.5)
    values = np.array(["no frauds", "no frauds", "frauds", "frauds"])
    by_value = {
        one.value: one for one in segment_estimates(evaluation, {"of": values}, metrics=("recall", "precision"), seed=0)
    }
    assert set(by_value["no frauds"].metrics) == {"precision"}
    assert set(by_value["frauds"].metrics) == {"recall", "precision"}
