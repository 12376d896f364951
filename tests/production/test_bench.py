"""The benches that hold a training and batch scoring beside bare scripts, on few rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench import pipeline, score
from bench.pipeline import made_rows

ROOT = Path(__file__).parents[2]


@pytest.mark.chaos
@pytest.mark.slow
def test_it_trains_twice_and_says_what_each_took() -> None:
    program = [sys.executable, "-m", "bench.pipeline", "--json", "--rows", "1000", "--pairs", "1"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert done.returncode == bool(found["broken"]), done.stderr
    assert set(pipeline.MOST) <= found.keys()
    assert [step for step in found["large"]["steps"] if step == "refit"] == ["refit"]
    assert list(found["large"]["steps"])[-2:] == ["register", "release"]
    for part in ("large", "small"):
        assert min(found[part]["whole_s"] + found[part]["bare_s"]) > 0
        bare, whole = (found[part]["metrics"][name] for name in ("bare", "whole"))
        assert abs(bare["roc_auc"] - whole["roc_auc"]) < 0.05  # the same model on the same rows


def test_its_rows_are_few_positives_that_can_be_told() -> None:
    rows = made_rows(20_000)
    assert rows["fraud"].mean() == pytest.approx(0.02, abs=0.001)
    assert rows["at"].is_sorted()


@pytest.mark.slow
def test_both_score_the_same_and_it_says_what_each_took() -> None:
    sizes = ["--rows", "2000", "--many", "3000", "--fitted", "20000", "--pairs", "1"]
    program = [sys.executable, "-m", "bench.score", "--json", *sizes]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert done.returncode == bool(found["broken"]), done.stderr
    assert set(score.MOST) <= found.keys()
    assert min(found["wall_s"][0].values()) > 0
    assert 0 < found["peak_mb"] < 1500
