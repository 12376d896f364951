"""Phase 1 and 2 from the command line, on a file of one's own, and the mistakes that people make on the way."""

from __future__ import annotations

import functools
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from ..experiment.made import payments, project
from ..serving.place import wait_until
from .terminal import environment, everloop


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `shop`, a project of one's own file with a champion."""
    folder = tmp_path_factory.mktemp("bench")
    payments(10_000, positives=0.2).write_parquet(folder / "pay.parquet")
    made = everloop("init", "shop", "--data", "pay.parquet", cwd=folder)
    assert made.code == 0, made.err
    assert made.out == "cd shop && everloop explore\n"
    shop = folder / "shop"
    model = (shop / "fraud" / "model.yaml").read_text()
    for before, after in (
        ("logistic, random_forest, xgboost, lightgbm, neural_network", "lightgbm"),
        ("delay: 7d", "delay: 1d"),
        ("recall >= 0.60", "recall >= 0.30"),
    ):
        assert before in model
        model = model.replace(before, after)
    (shop / "fraud" / "model.yaml").write_text(model)
    searched = everloop("search", "--trials", "4", "--jobs", "1", cwd=shop)
    assert searched.code == 0, searched.err
    assert searched.out.splitlines()[-1].startswith("everloop approve fraud-s1 --by ")
    return folder


@pytest.fixture(scope="module")
def trained(bench: Path) -> Path:
    shop = bench / "shop"
    assert everloop("approve", "fraud-s1", "--by", "alice", cwd=shop).code == 0
    done = everloop("train", "--json", cwd=shop)
    assert done.code == 0, done.err
    assert done.json["version"] == 1
    assert done.json["released"] is True
    return shop


def test_the_next_command_is_one_that_a_shell_takes(bench: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(bench / "pay.parquet", tmp_path / "pay.parquet")
    made = everloop("init", "my shop", "--data", "data/../pay.parquet", cwd=tmp_path)
    assert (made.code, made.out) == (0, "cd 'my shop' && everloop explore\n")
    assert f"source: '{tmp_path}/pay.parquet'" in (tmp_path / "my shop" / "fraud" / "model.yaml").read_text()


def test_explore_says_what_the_data_looks_like(bench: Path) -> None:
    seen = everloop("explore", "--json", cwd=bench / "shop")
    assert seen.code == 0
    assert seen.json["rows"] == 10_000
    assert (bench / "shop" / ".everloop" / "reports" / "fraud-explore.html").read_text().startswith("<!doctype html>")
    spoken = everloop("explore", "--no-page", cwd=bench / "shop")
    assert max(len(line) for line in spoken.out.splitlines()) <= 80


def test_names_with_brackets_are_shown_as_they_are(tmp_path: Path) -> None:
    frame = payments(1_000).rename({"v0": "price[usd]", "v1": "a[/b]", "v2": ":warning:"})
    project(tmp_path / "p", frame)
    for words in (("--no-page",), ("--features",)):
        seen = everloop("explore", *words, cwd=tmp_path / "p")
        assert seen.code == 0, seen.err
        assert all(name in seen.out for name in ("price[usd]", "a[/b]", ":warning:"))


def test_explore_sends_nobody_on_with_what_stops_a_search(bench: Path, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(bench / "shop", shop, ignore=shutil.ignore_patterns(".everloop"))
    assert "next: everloop search" in everloop("explore", "--no-page", cwd=bench / "shop").err
    payments(500).drop("v1").write_parquet(tmp_path / "pay.parquet")
    model = shop / "fraud" / "model.yaml"
    model.write_text(model.read_text().replace(str(bench / "pay.parquet"), str(tmp_path / "pay.parquet")))
    seen = everloop("explore", "--no-page", cwd=shop)
    assert seen.code == 0
    assert "✗ column 'v1' is missing" in seen.out
    assert "next: put right what is marked ✗" in seen.err


def test_rollout_plan_says_what_an_experiment_online_would_take(bench: Path) -> None:
    shop = bench / "shop"
    shown = everloop("rollout", "plan", "--share", "1%", "--effect", "0.05", cwd=shop)
    assert (shown.code, shown.err) == (0, "")
    # a path is never cut, so that it can be copied
    assert max(len(line.rstrip()) for line in shown.out.splitlines() if not line.startswith("page: ")) <= 80
    assert "fraud-s1 expects it" in shown.out
    assert "● A/B judged once" in shown.out
    page = shop / ".everloop" / "reports" / "fraud-rollout-plan.html"
    assert page.read_text().startswith("<!doctype html>")
    page.unlink()
    record = everloop("rollout", "plan", "fraud", "--metric", "target_rate", "--no-page", "--json", cwd=shop).json
    assert record["baseline"]["metric"] == "target_rate"
    assert record["paired"] is None
    assert record["page"] is None
    assert not page.exists()
    refused = everloop("rollout", "plan", "--effect", "3", cwd=shop)
    assert (refused.code, refused.out) == (2, "")
    assert "and it lies from 0 to 1; say at most" in refused.err


def test_a_spec_nobody_approved_is_refused(bench: Path, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(bench / "shop", shop, ignore=shutil.ignore_patterns(".everloop"))
    refused = everloop("train", cwd=shop)
    assert refused.code == 3
    assert refused.out == ""
    assert "fraud-s1 is not approved" in refused.err
    assert "everloop approve fraud-s1 --by NAME" in refused.err
    nobody = everloop("approve", "fraud-s1", "--by", " ", cwd=shop)
    assert (nobody.code, nobody.out) == (2, "")
    assert "say who answers for the spec" in nobody.err
    assert everloop("approve", "fraud-s1", "--by", "alice", cwd=shop).err == "next: everloop train\n"
    second = everloop("approve", "fraud-s1", "--by", "bob", cwd=shop)
    assert second.code == 0
    assert second.out.startswith("fraud-s1 approved by alice at ")
    assert "it was approved before, and nothing was changed" in second.err
    unknown = everloop("approve", "fraud-s9", "--by", "alice", cwd=shop)
    assert unknown.code == 1
    assert "fraud has no spec fraud-s9; the newest is fraud-s1" in unknown.err


def test_a_model_that_a_gate_refuses_is_exit_code_3_and_one_sentence(trained: Path, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(trained, shop)
    path = shop / "fraud" / "model.yaml"
    path.write_text(path.read_text().replace("recall >= 0.30", "recall >= 99%"))
    refused = everloop("train", cwd=shop)
    assert refused.code == 3
    assert re.search(r"^gate +verdict +sentence", refused.out)  # all of them, also those that passed
    assert re.search(r"^recall >= 0\.99 +failed +recall", refused.out, re.M)
    assert " passed " in refused.out
    assert all(len(line) <= 80 for line in refused.out.splitlines())
    number = r"0\.\d{2}"
    sentence = rf"fraud run (r-\w+) refused: recall {number} \[{number}, {number}\] is below 0\.99; evidence in (\S+)"
    found = re.search(sentence, refused.err)
    assert found, refused.err
    assert (shop / found[2] / "gates.json").exists()
    assert (shop / found[2]).name == found[1]
    (version,) = everloop("model", "list", "--json", cwd=shop).json
    assert version["name"] == "fraud/v1"
    again = everloop("train", "--json", cwd=shop)
    assert again.code == 3
    assert (again.json["status"], "version" in again.json) == ("refused", False)
    assert "failed" in [verdict["outcome"] for verdict in again.json["verdicts"]]


def test_a_training_that_must_wait_for_positives_is_exit_code_4_and_says_how_long(
    trained: Path, tmp_path: Path
) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(trained, shop)
    path = shop / "fraud" / "model.yaml"
    path.write_text(re.sub(r"holdout: \d+%", "holdout: 1%", path.read_text()))
    waits = everloop("train", cwd=shop)
    assert (waits.code, waits.out) == (4, "")
    assert re.search(r"the newest 1% of the rows .* so \d+ are still to come: about \d+\w+ more", waits.err)
    assert len(everloop("model", "list", "--json", cwd=shop).json) == 1


def test_an_interrupted_search_says_so_and_goes_on_when_it_is_called_again(bench: Path, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(bench / "shop", shop, ignore=shutil.ignore_patterns(".everloop", "specs"))
    words = ["search", "--trials", "500", "--jobs", "1"]
    program = [sys.executable, "-c", "from everloop.cli import main; main()", *words]
    with subprocess.Popen(program, cwd=shop, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        kept = functools.partial(shop.glob, ".everloop/searches/*/trials.jsonl")
        wait_until(lambda: process.poll() is not None or any(path.stat().st_size for path in kept()), within_s=120)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (130, "everloop: stopped")
    assert everloop("spec", "list", "--json", cwd=shop).json == []
    assert everloop("search", "--trials", "1", "--jobs", "1", cwd=shop).code == 0


def test_every_list_reads_at_80_columns_and_as_json(trained: Path) -> None:
    for noun in ("model", "spec", "run", "alert", "rollout", "audit"):
        spoken = everloop(noun, "list", cwd=trained)
        assert spoken.code == 0, spoken.err
        assert max((len(line) for line in spoken.out.splitlines()), default=0) <= 80
        assert isinstance(everloop(noun, "list", "--json", cwd=trained).json, list)
    (version,) = everloop("model", "list", "--json", cwd=trained).json
    assert (version["name"], version["role"], version["spec"]) == ("fraud/v1", "champion", "fraud-s1")
    run = everloop("run", "show", version["run"], "--json", cwd=trained).json
    assert run["steps"][0]["step"] == "configure"
    assert "approved by alice" in everloop("spec", "list", cwd=trained).out
    shown = {
        "model": ("model", "show"),
        "run": ("run", "show", version["run"]),
        "fact": ("audit", "show", "1"),
        "why": ("why", "v1"),
        "status": ("status",),
    }
    for words in shown.values():
        spoken = everloop(*words, cwd=trained)
        assert spoken.code == 0, spoken.err
        assert max(len(line) for line in spoken.out.splitlines()) <= 80, words
        assert everloop(*words, "--json", cwd=trained).json
    card = everloop("model", "show", "fraud/v1", "--json", cwd=trained).json
    assert card["bundle_place"]["state"] == version.pop("bundle_state")
    assert card == card | version
    assert "project.created" in everloop(*shown["fact"], cwd=trained).out
    assert "there is no fact 999; the last is" in everloop("audit", "show", "999", cwd=trained).err


def test_a_file_is_scored_by_the_champion(trained: Path) -> None:
    payments(500, seed=3).drop("fraud").write_parquet(trained / "new.parquet")
    done = everloop("score", "new.parquet", "scored.parquet", "--json", cwd=trained)
    assert done.code == 0, done.err
    assert (done.json["rows"], done.json["version"]) == (500, 1)
    assert pl.read_parquet(trained / "scored.parquet").height == 500


def test_audit_verify_finds_a_changed_fact(trained: Path, tmp_path: Path) -> None:
    good = everloop("audit", "verify", cwd=trained)
    assert (good.code, good.out.endswith("facts, unbroken\n")) == (0, True)
    shop = tmp_path / "shop"
    shutil.copytree(trained, shop)
    with sqlite3.connect(shop / ".everloop" / "ledger.db") as database:
        triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            database.execute(f"DROP TRIGGER {name}")
        database.execute("UPDATE fact SET actor = 'mallory' WHERE kind = 'spec.approved'")
    bad = everloop("audit", "verify", cwd=shop)
    assert bad.code == 1
    assert "the chain does not verify" in bad.err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("init", "shop", "--data", "pay.parquet"), 1, "is not empty"),
        (("init", "new", "--data", "nothing.parquet"), 1, "does not exist"),
        (("init", "new", "--data", "pay.parquet", "--target", "frod"), 1, "did you mean 'fraud'?"),
        (("init", "new", "--template", "frogs"), 1, "frogs"),
        (("model", "list"), 1, "no everloop.yaml in"),
        (("trainn",), 2, "'everloop' has no command 'trainn'; did you mean 'train'?"),
        (("traffics", "tail"), 2, "'everloop' has no command 'traffics'"),
        (("rollout", "begin"), 2, "no command 'begin'; there are list, show, plan, start, pause"),
        (("approve",), 2, "say which spec and who answers for it: everloop approve fraud-s1 --by"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    bench: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    ended = everloop(*words, cwd=bench)
    assert ended.code == code
    assert ended.out == ""
    assert says in ended.err
    assert not (bench / "new").exists()


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("gates:", "gatess:", "fraud/model.yaml:"),
        ("steps: [shadow 1d, 1%", "steps: [shadow 1d, 140%", "140% is not a share"),
        ("target: fraud", "target: fruad", "fruad"),
        ("every: 1d", "evry: 1d", "did you mean 'every'?"),
    ],
)
def test_a_mistake_in_model_yaml_is_told_with_its_place(
    bench: Path, tmp_path: Path, before: str, after: str, says: str
) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(bench / "shop", shop, ignore=shutil.ignore_patterns(".everloop"))
    text = (shop / "fraud" / "model.yaml").read_text()
    assert before in text
    (shop / "fraud" / "model.yaml").write_text(text.replace(before, after))
    ended = everloop("explore", "--no-page", cwd=shop)
    assert ended.code == 1
    assert says in ended.err


def test_the_target_among_the_features_is_refused(bench: Path, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(bench / "shop", shop, ignore=shutil.ignore_patterns(".everloop"))
    with (shop / "fraud" / "features.py").open("a") as handle:
        handle.write('\n@features\ndef leak():\n    yield "leak", pl.col("fraud") * 1.0\n')
    ended = everloop("search", "--trials", "1", cwd=shop)
    assert ended.code == 1
    assert "fraud" in ended.err
    assert "leak" in ended.err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not a database at all, but long enough to be looked at" * 40, "is damaged or no ledger"),
        (b"", "is gone or empty, and held"),
    ],
    ids=["garbage", "emptied"],
)
def test_an_unreadable_ledger_is_said_and_left_as_it_is(
    trained: Path, tmp_path: Path, content: bytes, says: str
) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(trained, shop)
    ledger = shop / ".everloop" / "ledger.db"
    for beside in shop.glob(".everloop/ledger.db-*"):
        beside.unlink()
    ledger.write_bytes(content)
    payments(50, seed=3).drop("fraud").write_parquet(shop / "new.parquet")
    for words in (
        ("status",), ("model", "list"), ("train",), ("check",), ("why", "v1"), ("audit", "verify"),
        ("up", "--port", "0"), ("serve", "--port", "0"), ("worker",), ("score", "new.parquet", "scored.parquet"),
        ("approve", "fraud-s1", "--by", "a"),
    ):  # fmt: skip
        ended = everloop(*words, cwd=shop)
        assert (ended.code, ended.out) == (1, ""), words
        assert len(ended.err.splitlines()) == 1, words
        assert says in ended.err, words
        assert "put a backup in its place" in ended.err, words
        assert ledger.read_bytes() == content


def test_explain_prints_every_default(tmp_path: Path) -> None:
    ended = everloop("init", "--explain", cwd=tmp_path)
    assert ended.code == 0
    assert "false_alarms" in ended.out
    assert max(len(line) for line in ended.out.splitlines()) <= 80
    records = everloop("init", "--explain", "--json", cwd=tmp_path).json
    assert {"key": "data.segments", "value": "[]", "about": "columns to judge one by one"} in records["model.yaml"]
    assert list(tmp_path.iterdir()) == []
