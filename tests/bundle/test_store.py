"""A bundle is whole and unchanged, or it is refused in one sentence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from everloop.bundle import BundleParts, BundleStore, Manifest
from everloop.data import Baseline
from everloop.errors import BundleCorrupt, BundleError, NotFound
from everloop.ids import content_id
from tests.bundle.parts import ROOT, PlainBaseline, frame, parts


def test_what_is_written_is_loaded(tmp_path: Path, logistic: BundleParts) -> None:
    store = BundleStore(tmp_path / "bundles")
    bundle_id = store.write(logistic)
    assert content_id((store.path(bundle_id) / "manifest.json").read_bytes()) == bundle_id
    assert store.ids() == [bundle_id]
    bundle = store.load(bundle_id)
    assert bundle.id == bundle_id == bundle.manifest.id
    assert bundle.features == logistic.features
    assert bundle.contract == logistic.contract
    assert bundle.baseline_json == PlainBaseline().data
    assert bundle.manifest == store.manifest(bundle_id)
    assert bundle.threshold == 0.3
    assert (bundle.label(True), bundle.label(False)) == ("fraud", "legitimate")


def test_a_bundle_without_calibration_is_what_it_was() -> None:
    plain = parts("constant", graph=b"x")
    manifest = plain.manifest(plain.files())
    assert manifest.id == "83ee31673fa2f379687082711bf963d7bbc6f624748885dd5da41530111527c2"
    mapped = replace(plain, calibration="isotonic")
    said = mapped.manifest(mapped.files())
    assert said.id != manifest.id
    assert Manifest.from_json(said.to_json()) == said
    assert json.loads(said.to_json())["calibration"] == "isotonic"
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_frames_are_scored_and_decided_alike_in_any_cut(tmp_path: Path, logistic: BundleParts) -> None:
    store = BundleStore(tmp_path)
    bundle = store.load(store.write(logistic))
    rows = frame()
    whole = bundle.score_frame(rows)
    assert whole.features.dtype == whole.score.dtype == np.float32
    assert whole.features.shape == (2000, 6)
    assert (whole.decision == (whole.score >= np.float32(0.3))).all()
    assert 0 < whole.decision.sum() < 2000
    cut = [bundle.score_frame(piece) for piece in rows.iter_slices(77)]
    assert np.concatenate([piece.score for piece in cut]).tobytes() == whole.score.tobytes()
    assert np.concatenate([piece.decision for piece in cut]).tobytes() == whole.decision.tobytes()
    again = bundle.score_frame(pl.concat([rows[:7], rows[7:]], rechunk=False))
    assert again.score.tobytes() == whole.score.tobytes()


def test_the_same_parts_are_the_same_bundle(tmp_path: Path, logistic: BundleParts) -> None:
    store = BundleStore(tmp_path)
    first = store.write(logistic)
    store.write_evidence(first, "timings.json", b"{}")
    other_order = dict(reversed(list(logistic.metrics.items())))
    assert store.write(replace(logistic, metrics=other_order)) == first
    assert store.ids() == [first]
    assert (store.evidence_path(first) / "timings.json").read_bytes() == b"{}"
    assert not list((tmp_path / "partial").iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 0.31},
        {"metrics": {"recall": 0.5}},
        {"spec_hash": "6" * 64},
        {"baseline": PlainBaseline(b"{}")},
        {"model": "other"},
        {"positive": "bad"},
    ],
)
def test_every_part_counts(tmp_path: Path, logistic: BundleParts, change: dict[str, object]) -> None:
    store = BundleStore(tmp_path)
    assert store.write(logistic) != store.write(replace(logistic, **change))
    assert len(store.ids()) == 2


def test_numbers_that_json_has_not_are_refused(tmp_path: Path, logistic: BundleParts) -> None:
    with pytest.raises(BundleError, match="recall is nan"):
        BundleStore(tmp_path).write(replace(logistic, metrics={"recall": float("nan")}))
    assert BundleStore(tmp_path).ids() == []


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


FILES = ("graph.onnx", "features.json", "contract.json", "baseline.json", "manifest.json")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (flip, "was changed"),
        (Path.unlink, "is missing"),
        (lambda path: path.write_bytes(b""), "was changed"),
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "was changed"),
        (make_folder, "cannot be read"),
    ],
)
def test_damage_is_refused_in_one_sentence(
    tmp_path: Path, logistic: BundleParts, name: str, damage: Callable[[Path], None], sentence: str
) -> None:
    store = BundleStore(tmp_path)
    bundle_id = store.write(logistic)
    damage(store.path(bundle_id) / name)
    with pytest.raises(BundleCorrupt, match=f"{name} {sentence}.*, so it is not served") as caught:
        store.load(bundle_id)
    assert "\n" not in str(caught.value)
    with pytest.raises(BundleCorrupt):
        store.write(logistic)


def test_an_additional_file_is_refused(tmp_path: Path, logistic: BundleParts) -> None:
    store = BundleStore(tmp_path)
    bundle_id = store.write(logistic)
    (store.path(bundle_id) / "extra.bin").write_bytes(b"")
    with pytest.raises(BundleCorrupt, match=r"extra\.bin is not in its manifest"):
        store.load(bundle_id)


def test_a_forged_manifest_has_another_id(tmp_path: Path, logistic: BundleParts) -> None:
    store = BundleStore(tmp_path)
    bundle_id = store.write(logistic)
    folder = store.path(bundle_id)
    said = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_bytes(json.dumps(said | {"threshold": 0.0}).encode())
    with pytest.raises(BundleCorrupt, match=r"manifest\.json was changed"):
        store.load(bundle_id)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"{}", "not a bundle's manifest"),
        (b"\xff", "not a bundle's manifest"),
        (b'{"schema": 1, "model": "m"}', "not a bundle's manifest"),
        (b'{"schema": 9, "more": 1}', "schema 9 and this everloop reads 1"),
    ],
)
def test_other_manifests_are_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(BundleCorrupt, match=sentence):
        Manifest.from_json(data)


def test_parts_that_do_not_go_together_are_refused(tmp_path: Path, logistic: BundleParts) -> None:
    store = BundleStore(tmp_path)
    bundle_id = store.write(replace(logistic, features=logistic.features.only(["x0", "x1"])))
    with pytest.raises(BundleCorrupt, match="its tree gives 2 and its graph reads 6"):
        store.load(bundle_id)


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    store = BundleStore(tmp_path)
    assert store.ids() == []
    with pytest.raises(NotFound, match="there is no bundle"):
        store.load("0" * 64)
    with pytest.raises(NotFound, match="is not a bundle's id"):
        store.load("../../etc")


def test_evidence_lies_beside_and_is_not_summed(tmp_path: Path, logistic: BundleParts) -> None:
    store = BundleStore(tmp_path)
    bundle_id = store.write(logistic)
    store.write_evidence(bundle_id, "verdicts.json", b"[1]")
    path = store.write_evidence(bundle_id, "verdicts.json", b"[2]")
    assert path.read_bytes() == b"[2]"
    assert [item.name for item in path.parent.iterdir()] == ["verdicts.json"]
    assert store.load(bundle_id).id == bundle_id
    for name in ("../manifest.json", "", ".", "a/b", ".hidden"):
        with pytest.raises(BundleError, match="cannot be named"):
            store.write_evidence(bundle_id, name, b"")


def test_what_cannot_be_written_is_told(tmp_path: Path, logistic: BundleParts) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match="cannot be written"):
        BundleStore(tmp_path / "file").write(logistic)


KILLED = """
import os, signal, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from everloop.bundle import BundleStore
from tests.bundle.parts import parts

root, whole = Path(sys.argv[1]), parts("constant")
last = 40
for kill_at in range(last):
    store = BundleStore(root / str(kill_at))
    child = os.fork()
    if child == 0:
        seen = 0
        def watch(event, args):
            global seen
            if event in ("open", "os.mkdir", "os.rename") and str(root) in str(args[0]):
                if seen == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1
        sys.addaudithook(watch)
        store.write(whole)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    ids = store.ids()
    assert all(store.load(found).id == found for found in ids)
    written = store.write(whole)
    assert ids in ([], [written]) and store.ids() == [written] and store.load(written).id == written
    print(kill_at, "killed" if os.WIFSIGNALED(status) else "done", len(ids), flush=True)
    if not os.WIFSIGNALED(status):
        break
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_writer_killed_at_any_step_leaves_no_half_bundle(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    steps = [line.split() for line in done.stdout.splitlines()]
    assert steps[-1][1:] == ["done", "1"]
    killed = [step for step in steps if step[1] == "killed"]
    assert len(killed) >= 9  # folders, five files, the rename, and reading it again
    assert {step[2] for step in killed} == {"0", "1"}


def test_what_a_killed_writer_left_is_removed_after_an_hour(tmp_path: Path, logistic: BundleParts) -> None:
    import os

    old, young = tmp_path / "partial" / "old", tmp_path / "partial" / "young"
    old.mkdir(parents=True)
    young.mkdir()
    at = young.stat().st_mtime - 4000
    os.utime(old, (at, at))
    BundleStore(tmp_path).write(logistic)
    assert [item.name for item in (tmp_path / "partial").iterdir()] == ["young"]


def test_a_copied_store_is_the_same_store(tmp_path: Path, logistic: BundleParts) -> None:
    bundle_id = BundleStore(tmp_path / "a").write(logistic)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert BundleStore(tmp_path / "b").load(bundle_id).id == bundle_id


def test_the_baseline_comes_back_as_it_was(tmp_path: Path, logistic: BundleParts) -> None:
    times = pl.Series("event_time", [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=i) for i in range(200)])
    baseline = Baseline.build(frame(200).with_columns(times.dt.cast_time_unit("us")), window=timedelta(days=1))
    store = BundleStore(tmp_path)
    assert store.load(store.write(replace(logistic, baseline=baseline))).baseline == baseline
