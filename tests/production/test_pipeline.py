"""The pipeline on a real small project: what it registers, what it refuses, and that a kill changes nothing."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import psutil
import pytest

from everloop.bundle import BundleStore
from everloop.clock import SimulatedClock
from everloop.data import write_first_contract
from everloop.errors import Refused
from everloop.ids import content_id
from everloop.ledger import Ledger
from everloop.models import FitProcess, learners
from everloop.production import PipelineResources, approved_spec, score_file, training_workflow
from everloop.project import Project
from everloop.workflows import Engine

from ..experiment.made import opened, payments, project
from ..experiment.test_search import TREES
from ..processes import command_of
from .shop import GATES, NOW, STEPS, add_spec, died_at, shop, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    found, _ = shop(tmp_path_factory.mktemp("trained") / "shop")
    result = train(found, run_id="r-first")
    assert result.status == "finished", result.sentence
    return found


def test_a_first_version_passes_its_gates_and_answers_at_once(trained: Project) -> None:
    with Ledger.open(trained, clock=SimulatedClock(NOW)) as ledger:
        routing = ledger.routing("fraud")
        assert routing is not None
        assert (routing.champion, routing.previous, routing.challengers) == (1, None, ())
        version = ledger.version("fraud", 1)
        kinds = [fact.kind for fact in ledger.why("fraud", 1)]
        assert kinds[:2] == ["version.registered", "run.started"]
        assert "spec.approved" in kinds
        assert [fact.payload["step"] for fact in ledger.facts(kind="run.step")] == list(STEPS)
        assert ledger.verify().ok
    bundle = BundleStore(trained.paths.bundles).load(version.bundle)
    assert bundle.manifest.spec_hash == version.spec_hash
    assert bundle.threshold == version.record["threshold"]
    assert [gate["outcome"] for gate in version.record["verdicts"]] == ["passed"] * 3


def test_a_blend_is_trained_as_any_other(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "shop")
    said = {"1.learner": "lightgbm", "1.n_estimators": 60, "2.learner": "xgboost", "2.n_estimators": 40}
    add_spec(model, 2, learner="blend", hyperparameters=said, calibration="auto")
    result = train(found, run_id="r-blend", spec="fraud-s2")
    assert result.status == "finished", result.sentence
    with Ledger.open(found, clock=SimulatedClock(NOW)) as ledger:
        manifest = BundleStore(found.paths.bundles).load(ledger.version("fraud", 1).bundle).manifest
    assert manifest.learner == "blend"


def test_what_was_evaluated_is_what_is_served(trained: Project, tmp_path: Path) -> None:
    """Law 2: the scores that gates judged are those of the bundle, by `score` and for a row alone, to the bit."""
    folder = trained.paths.runs / "r-first"
    judged = pl.read_parquet(folder / "judged.parquet")["candidate"].to_numpy()
    with Ledger.open(trained, clock=SimulatedClock(NOW)) as ledger:
        bundle = BundleStore(trained.paths.bundles).load(ledger.version("fraud", 1).bundle)
    score_file(bundle, 1, str(trained.root / "payments.parquet"), tmp_path / "scored.parquet", root=tmp_path)
    scored = pl.read_parquet(tmp_path / "scored.parquet")["score"].to_numpy()
    assert scored[-len(judged) :].tobytes() == judged.tobytes()
    test = pl.read_parquet(folder / "snapshot.parquet").tail(len(judged))
    for at in range(0, len(judged), 100):
        assert bundle.score_frame(test[at]).score.tobytes() == judged[at : at + 1].tobytes()


def test_the_threshold_is_chosen_on_validation_rows_alone(trained: Project, tmp_path: Path) -> None:
    """Other test rows, the same threshold: it cannot have been chosen on them (law 8)."""
    root = tmp_path / "other"
    shutil.copytree(trained.root, root, ignore=shutil.ignore_patterns(".everloop"))
    frame = pl.read_parquet(root / "payments.parquet")
    newest = pl.int_range(pl.len()) >= int(frame.height * 0.9)
    flipped = pl.when(newest).then(1 - pl.col("fraud")).otherwise("fraud")
    frame.with_columns(flipped.alias("fraud")).write_parquet(root / "payments.parquet")
    other = Project.open(root, environment={})
    result = train(other, run_id="r-first")
    assert result.status == "refused"
    thresholds = [
        json.loads((project.paths.runs / "r-first" / "thresholds.json").read_text())["candidate"]
        for project in (trained, other)
    ]
    assert thresholds[0] == thresholds[1]


def test_what_a_gate_refused_keeps_its_evidence_and_has_no_version(tmp_path: Path) -> None:
    found, _ = shop(tmp_path / "shop", gates="gates: [recall >= 0.999, accuracy >= 0.5]\n")
    result = train(found, run_id="r-bad")
    assert result.status == "refused"
    assert result.sentence.startswith("fraud run r-bad refused: recall 0.")
    assert "is below 0.999; evidence in .everloop/runs/r-bad" in result.sentence
    gates = json.loads((found.paths.runs / "r-bad" / "gates.json").read_text())["gates"]
    assert [gate["outcome"] for gate in gates] == ["failed", "passed"]
    with Ledger.open(found, clock=SimulatedClock(NOW)) as ledger:
        assert ledger.versions("fraud") == []
        assert ledger.routing("fraud") is None
    with pytest.raises(Refused):
        result.raise_for_status()


def test_a_yardstick_need_not_beat_itself(tmp_path: Path) -> None:
    """A search may choose the logistic regression, and the gate then asks it to beat the constant alone."""
    found, _ = shop(tmp_path / "shop", gates="gates: [beats yardstick]\n", learner="logistic", linear=True)
    result = train(found, run_id="r-line")
    assert result.status == "finished", result.sentence
    (gate,) = result.state["gates"]
    assert set(gate["evidence"]["yardsticks"]) == {"constant"}


def test_each_segment_of_the_test_rows_is_judged(tmp_path: Path) -> None:
    """One country's frauds look like nothing: good on the whole, and refused for that country."""
    rows = payments(10_000)
    country = pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("SE")).otherwise(pl.lit("NO"))
    rows = rows.with_columns(country=country)
    shuffled = rows.filter(pl.col("country") == "SE").with_columns(pl.col("fraud").shuffle(seed=1))
    rows = pl.concat([rows.filter(pl.col("country") == "NO"), shuffled]).sort("paid_at")
    gates = (
        "gates: [recall >= 0.20, recall >= 0.20 for each country, not worse than champion by 0.1 for each country]\n"
    )
    _, model = project(tmp_path / "shop", rows, objective="f1")
    path = model.folder / "model.yaml"
    path.write_text(path.read_text().replace("  target: fraud\n", "  target: fraud\n  segments: [country]\n") + gates)
    found, model = opened(tmp_path / "shop")
    write_first_contract(model, root=found.root)
    add_spec(model, 1)
    result = train(found, run_id="r-each")
    assert result.status == "refused"
    assert re.search(r"refused: for country SE recall 0\.0\d \[.*\] is below 0\.20; evidence in", result.sentence)
    whole, each, champion = result.verdicts
    assert (whole["outcome"], each["outcome"], champion["outcome"]) == ("passed", "failed", "passed")
    assert {name: one["outcome"] for name, one in each["evidence"]["segments"].items()} == {
        "NO": "passed",
        "SE": "failed",
    }


def test_a_later_version_waits_for_its_rollout_and_is_held_against_the_champion(
    trained: Project, tmp_path: Path
) -> None:
    root = tmp_path / "next"
    shutil.copytree(trained.root, root)
    found = Project.open(root, environment={})
    add_spec(found.model(), 2, hyperparameters={"n_estimators": 120, "num_leaves": 15}, parent="fraud-s1")
    result = train(found, run_id="r-second", spec="fraud-s2")
    assert result.status == "finished", result.sentence
    assert result.state["champion"] == 1
    assert result.state["released"] is False
    with Ledger.open(found, clock=SimulatedClock(NOW)) as ledger:
        routing = ledger.routing("fraud")
        assert routing is not None
        assert (routing.champion, routing.revision) == (1, 1)
        assert ledger.version("fraud", 2).role is None
    # a worse one is refused by the comparison with the champion, not by a bound
    add_spec(found.model(), 3, hyperparameters={"n_estimators": 1, "num_leaves": 2, "learning_rate": 0.001})
    refused = train(found, run_id="r-third", spec="fraud-s3")
    assert refused.status == "refused"


def test_a_champion_that_reads_a_column_no_longer_kept_is_said(trained: Project, tmp_path: Path) -> None:
    root = tmp_path / "narrow"
    shutil.copytree(trained.root, root)
    found = Project.open(root, environment={})
    path = found.model().contract_path
    before = path.read_text()
    role = re.search(r"\n  v3:\n(?:    .*\n)*?    role: (feature)\n", before)
    assert role is not None
    for wanted, status in (("ignored", "failed"), ("input", "finished")):
        path.write_text(before[: role.start(1)] + wanted + before[role.end(1) :])
        add_spec(found.model(), 2, parent="fraud-s1")
        result = train(found, run_id=f"r-{wanted}", spec="fraud-s2")
        assert result.status == status, result.sentence
        if status == "failed":
            assert "the champion reads v3, which the contract no longer keeps" in result.sentence
            assert "`role: input` in contract.yaml" in result.sentence


def test_an_edited_spec_is_refused_until_it_is_approved_again(trained: Project, tmp_path: Path) -> None:
    root = tmp_path / "edited"
    shutil.copytree(trained.root, root)
    model = Project.open(root, environment={}).model()
    path = model.spec_path(1)
    path.write_text(path.read_text().replace("num_leaves: 15", "num_leaves: 9"))
    with Ledger.open(Project.open(root, environment={}), clock=SimulatedClock(NOW)) as ledger:
        with pytest.raises(Refused, match=r"fraud-s1 was changed after its approval.*everloop approve fraud-s1"):
            approved_spec(model, ledger, name="fraud-s1")
        add_spec(model, 2)
        with pytest.raises(Refused, match="fraud-s2 is not approved"):
            approved_spec(model, ledger, name="fraud-s2")


def test_nothing_younger_than_the_outcome_delay_is_trained_on(tmp_path: Path) -> None:
    found, _ = shop(tmp_path / "shop", gates="outcome: {delay: 40d}\ngates: [accuracy >= 0.5]\n")
    result = train(found, run_id="r-young")
    assert result.status == "finished", result.sentence
    snapshot = pl.read_parquet(found.paths.runs / "r-young" / "snapshot.parquet")
    assert snapshot["event_time"].max() <= NOW - timedelta(days=40)  # type: ignore[operator]
    assert result.state["data"]["left_out"]["unmatured"] > 0


def test_calibration_and_early_stopping_reach_the_bundle_and_the_row(tmp_path: Path) -> None:
    """Fitted on the run's own validation rows, served in the graph: a row alone gives what the gates judged (law 2)."""
    found, model = shop(tmp_path / "shop", gates="gates: [recall >= 0.3]\n")
    params = {"n_estimators": 400, "num_leaves": 15, "early_stopping_rounds": 10, "scale_pos_weight": "balanced"}
    add_spec(model, 2, hyperparameters=params, calibration="logistic")
    result = train(found, run_id="r-mapped", spec="fraud-s2")
    assert result.status == "finished", result.sentence
    fit = result.state["fit"]
    assert fit["rounds"] < 400
    assert fit["calibration"]["method"] == "logistic"
    assert fit["calibration"]["log_loss_after"] < fit["calibration"]["log_loss_before"]
    bundle = BundleStore(found.paths.bundles).load(result.state["bundle"])
    assert bundle.manifest.calibration == "logistic"
    folder = found.paths.runs / "r-mapped"
    judged = pl.read_parquet(folder / "judged.parquet")
    test = pl.read_parquet(folder / "snapshot.parquet").tail(judged.height)
    scores = judged["candidate"].to_numpy()
    assert bundle.score_frame(test).score.tobytes() == scores.tobytes()
    for at in range(0, judged.height, 100):
        assert bundle.score_frame(test[at]).score.tobytes() == scores[at : at + 1].tobytes()
    assert abs(float(scores.mean()) - float(judged["y"].to_numpy().mean())) < 0.03


def test_a_projects_own_learner_is_trained_and_kept_as_evidence(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "shop", gates="gates: [recall >= 0.3]\n")
    (model.folder / "learners.py").write_text(TREES)
    add_spec(model, 2, learner="extra_trees")
    result = train(found, run_id="r-own", spec="fraud-s2")
    assert result.status == "finished", result.sentence
    store = BundleStore(found.paths.bundles)
    evidence = store.evidence_path(result.state["bundle"]) / "learners.py"
    assert evidence.read_text() == TREES
    assert result.state["fit"]["own_learners"] == content_id(TREES.encode())
    assert store.load(result.state["bundle"]).manifest.learner == "extra_trees"


def test_an_own_learner_that_is_gone_fails_in_a_sentence(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "shop")
    add_spec(model, 2, learner="extra_trees")
    result = train(found, run_id="r-gone", spec="fraud-s2")
    assert result.status == "failed"
    assert "classification has no learner 'extra_trees'" in result.sentence


@pytest.mark.slow
def test_features_that_cannot_be_read_are_told_once_the_rows_are_frozen(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "shop")
    model.features_path.write_text(
        "import polars as pl\nfrom everloop import features\n\n\n"
        '@features\ndef derived():\n    yield "d", pl.col("nosuch") * 1\n'
    )
    result = train(found, run_id="r-first")
    assert (result.status, result.step, result.error) == ("failed", "check", "FeatureRefused"), result.sentence
    assert (found.paths.runs / "r-first" / "snapshot.parquet").exists()  # for a retry from there


def test_a_run_killed_at_any_step_ends_as_if_it_had_not_been(trained: Project, tmp_path: Path) -> None:
    """Laws 9 and 11: killed -9 in each step, its work done and not yet recorded; the same bundle and the same facts."""
    with Ledger.open(trained, clock=SimulatedClock(NOW)) as ledger:
        expected = ledger.version("fraud", 1).bundle
        kinds = [fact.kind for fact in ledger.facts(run="r-first")]
    root = tmp_path / "killed"
    shutil.copytree(trained.root, root, ignore=shutil.ignore_patterns(".everloop"))
    found = Project.open(root, environment={})
    for step in STEPS:
        # one run, killed in each of its steps in turn: each start goes on where the one before died
        code, said = died_at(root, "r-first", f"written:{step}")
        assert code == -signal.SIGKILL, said
    result = train(found, run_id="r-first")
    assert result.status == "finished", result.sentence
    with Ledger.open(found, clock=SimulatedClock(NOW)) as ledger:
        assert ledger.version("fraud", 1).bundle == expected
        assert [fact.kind for fact in ledger.facts(run="r-first")] == kinds
        assert len(ledger.versions("fraud")) == 1
        assert ledger.verify().ok


@pytest.mark.slow
def test_a_run_killed_while_it_fits_leaves_no_fit_behind_and_ends_the_same(trained: Project, tmp_path: Path) -> None:
    """Killed by somebody else, in the middle of a step, with processes of its own at work."""
    with Ledger.open(trained, clock=SimulatedClock(NOW)) as ledger:
        expected = ledger.version("fraud", 1).bundle
    root = tmp_path / "killed"
    shutil.copytree(trained.root, root, ignore=shutil.ignore_patterns(".everloop"))
    found = Project.open(root, environment={})
    program = [sys.executable, "-m", "tests.production.shop", str(root), "r-first", "nowhere"]
    running = psutil.Popen(program, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    assert found.state.is_dir()
    yardsticks = sum(item.yardstick for item in learners("classification").values())  # which are fitted before it
    sent = f".everloop/runs/r-first/.everloop-fit-*/{yardsticks}/request.json"
    while not (fitting := fits_of(running) if list(root.glob(sent)) else []):
        with contextlib.suppress(psutil.TimeoutExpired):  # it is still at work
            raise AssertionError(f"it ended with {running.wait(0.05)}")
    running.kill()
    running.wait()
    _, alive = psutil.wait_procs(fitting, timeout=30)
    assert alive == []
    result = train(found, run_id="r-first")
    assert result.status == "finished", result.sentence
    with Ledger.open(found, clock=SimulatedClock(NOW)) as ledger:
        assert [version.bundle for version in ledger.versions("fraud")] == [expected]
        assert [fact.payload["step"] for fact in ledger.facts(kind="run.step")] == list(STEPS)
        assert ledger.verify().ok


def test_a_run_fits_in_the_process_that_was_begun_before_it(trained: Project, tmp_path: Path) -> None:
    root = tmp_path / "early"
    shutil.copytree(trained.root, root, ignore=shutil.ignore_patterns(".everloop"))
    found = Project.open(root, environment={})
    with FitProcess.ahead() as fitting:
        result = train(found, run_id="r-first", fitting=fitting)
        assert result.status == "finished", result.sentence
        assert fitting.has_ended
    assert not list((found.paths.runs / "r-first").glob(".everloop-fit-*"))
    with Ledger.open(trained, clock=SimulatedClock(NOW)) as ledger:
        assert result.state["bundle"] == ledger.version("fraud", 1).bundle


def fits_of(running: psutil.Popen) -> list[psutil.Process]:
    """The child processes that fit for it now."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child for child in running.children() if "everloop.models.child" in command_of(child)]
    return []


def test_a_retry_of_its_gates_is_held_against_the_champion_that_came_meanwhile(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "shop", gates=GATES.replace("recall >= 0.30", "recall >= 0.9999"))
    assert train(found, run_id="r-first").status == "refused"
    path = model.folder / "model.yaml"
    path.write_text(path.read_text().replace("recall >= 0.9999", "recall >= 0.30"))
    found, model = opened(found.root)
    add_spec(model, 2, seed=1)
    assert train(found, run_id="r-second", spec="fraud-s2").state["champion"] is None
    with Ledger.open(found, clock=SimulatedClock(NOW)) as ledger:
        workflows, resources = [training_workflow()], PipelineResources.of(found)
        clock = SimulatedClock(NOW)
        with Engine.open(found.paths, ledger=ledger, clock=clock, workflows=workflows, resources=resources) as engine:
            engine.retry("r-first", new_run_id="r-third", actor="bob")
            result = engine.wait("r-third")
    assert result.status == "finished", result.sentence
    assert result.state["champion"] == 1
    assert result.state["champion_metrics"]["recall"]["rows"] > 0
    (beside,) = [verdict for verdict in result.state["gates"] if "champion" in verdict["name"]]
    assert "v1" in beside["sentence"]
