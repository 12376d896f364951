"""Runs from the command line: what is told of them, and how they are cancelled, resumed, retried and shared."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from everloop.clock import SystemClock
from everloop.ledger import Ledger
from everloop.project import Project

from ..control.town import life, make
from ..database_server import database_server
from ..object_store import object_store
from ..production.shop import STEPS
from ..serving.place import wait_until
from .terminal import environment, everloop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose first training was refused by a gate that asks too much."""
    root = tmp_path_factory.mktemp("runs") / "shop"
    make(root, life().replace("recall >= 0.30", "recall >= 0.9999"))
    refused = everloop("train", cwd=root)
    assert refused.code == 3, refused.err
    assert "which is below" in refused.err or "is below 0.9999" in refused.err
    return root


@pytest.fixture(scope="module")
def refused(shop: Path) -> str:
    name: str = everloop("run", "list", "--json", cwd=shop).json[0]["run"]
    return name


def test_a_run_is_told_step_by_step(shop: Path, refused: str) -> None:
    shown = everloop("run", "show", refused, cwd=shop)
    assert max(len(line) for line in shown.out.splitlines()) <= 80
    assert all(step in shown.out for step in STEPS[:9])
    record = everloop("run", "show", refused, "--json", cwd=shop).json
    assert [(step["step"], step["status"]) for step in record["steps"]][-2:] == [
        ("refit", "done"),
        ("gate", "refused"),
    ]
    split = record["steps"][3]
    assert split["inputs"] == {"model": "fraud"}
    assert split["outputs"]["split"]["train"]["rows"] > 0
    assert all(step["seconds"] >= 0 for step in record["steps"])
    step = everloop("run", "show", refused, "--step", "split", cwd=shop)
    assert '"validation_from"' in step.out
    nothing = everloop("run", "show", refused, "--step", "fly", cwd=shop)
    assert nothing.code == 1
    assert "has no step 'fly' to show; there are: configure, snapshot, check" in nothing.err


def test_a_run_is_a_page_with_a_gantt_chart(shop: Path, refused: str) -> None:
    made = everloop("run", "show", refused, "--page", "--json", cwd=shop)
    page = Path(made.json["page"]).read_text()
    assert page.startswith("<!doctype html>")
    assert "Gantt chart" in page
    assert "src=" not in page.split("</head>")[1].split("<script>")[0]


def test_a_gate_that_was_mistaken_is_mended_and_the_run_goes_on_from_there(shop: Path, refused: str) -> None:
    model = shop / "fraud" / "model.yaml"
    model.write_text(model.read_text().replace("recall >= 0.9999", "recall >= 0.30"))
    done = everloop("run", "retry", refused, "--json", cwd=shop)
    assert done.code == 0, done.err
    assert done.json["version"] == 1
    story = everloop("run", "show", done.json["run"], "--json", cwd=shop).json
    assert story["retry_of"] == refused
    assert [step["step"] for step in story["steps"] if step["kept_from"]] == list(STEPS[:8])
    assert [step["step"] for step in story["steps"]] == list(STEPS)
    typo = everloop("run", "retry", refused, "--from", "gates", cwd=shop)
    assert (typo.code, "train has no step 'gates'" in typo.err) == (2, True)


def test_a_run_that_nobody_runs_waits_folds_is_cancelled_and_resumed(shop: Path) -> None:
    asked = everloop("train", "--detach", "--json", cwd=shop)
    run = asked.json["run"]
    assert (asked.code, asked.json["status"]) == (0, "queued")
    assert f"run {run} waits for a worker" in asked.err
    again = everloop("train", "--detach", cwd=shop)
    assert again.out.strip() == run
    assert "this request became one with run" in again.err
    assert [one["run"] for one in everloop("run", "list", "--open", "--json", cwd=shop).json] == [run]
    ended = everloop("run", "cancel", run, "--reason", "not today", cwd=shop)
    assert ended.out == f"{run} is cancelled: not today\n"
    assert "has ended already (cancelled)" in everloop("run", "cancel", run, cwd=shop).err
    assert "everloop run retry" in everloop("run", "resume", run, cwd=shop).err
    waits = everloop("train", "--detach", cwd=shop).out.strip()
    resumed = everloop("run", "resume", waits, "--json", cwd=shop)
    assert resumed.code == 0, resumed.err
    assert resumed.json["run"] == waits
    assert everloop("run", "resume", "r-nobody", cwd=shop).code == 1


@contextmanager
def worker(root: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    program = [sys.executable, "-c", "from everloop.cli import main; main()", "worker"]
    with (root / "worker.log").open("ab") as talk:
        process = subprocess.Popen(program, cwd=root, stderr=talk, env=environment() | more)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=60)


@pytest.mark.parametrize("shared", ["a disk", "S3"])
def test_a_worker_that_is_killed_leaves_its_run_to_another_machine(shared: str, tmp_path: Path) -> None:
    with database_server() as server, object_store("payments") as store:
        first, second = tmp_path / "one" / "shop", tmp_path / "two" / "shop"
        artifacts = f"s3://{store.bucket}/fraud" if shared == "S3" else str(tmp_path / "shared")
        settings = f"ledger: {server.address}\nartifacts: {artifacts}\nruns: {{lease: 2s}}\n"
        made = tmp_path / "made" / "shop"
        make(made, life())
        for root in (first, second):
            shutil.copytree(made, root, ignore=shutil.ignore_patterns(".everloop"))
            (root / "everloop.yaml").write_text(settings)
        approved = everloop("approve", "fraud-s1", "--by", "alice", cwd=first)
        assert approved.code == 0, approved.err
        with Ledger.open(Project.find(first), clock=SystemClock()) as ledger:
            with worker(first, **store.variables) as dies:
                run = everloop("train", "--detach", cwd=second, **store.variables).out.strip()
                wait_until(lambda: ledger.keyed(run, "split", 0) is not None, within_s=100)
                dies.send_signal(signal.SIGKILL)
                dies.wait()
            with worker(second, **store.variables):
                wait_until(lambda: not ledger.run(run).open, within_s=100)
            story = everloop("run", "show", run, "--json", cwd=second, **store.variables).json
            assert story["status"] == "finished", (second / "worker.log").read_text()
            assert [step["step"] for step in story["steps"]] == list(STEPS)
            assert len({step["slot"] for step in story["steps"]}) == 2
            assert [version.number for version in ledger.versions("fraud")] == [1]
            assert "is gone; the run goes on" in story["handovers"][0]["sentence"]
            assert ledger.verify().ok
        # the machine that never packaged it answers with it
        scored = everloop("score", str(made / "payments.parquet"), "out.parquet", cwd=first, **store.variables)
        assert scored.code == 0, scored.err
