"""Gates in the pipeline: the rows before training, the model after it, functions of the project's own, one table."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import polars as pl
import pytest

from everloop.bundle import BundleStore
from everloop.clock import SimulatedClock, SystemClock
from everloop.data import load_rows, read_contract, write_first_contract
from everloop.errors import ContractViolation
from everloop.ids import content_id
from everloop.ledger import Ledger
from everloop.production.measured import row_latency
from everloop.production.own_evidence import OwnGateEvidence, read_own_evidence, write_own_evidence
from everloop.production.own_gates import ask_own_gates
from everloop.project import Model, OwnGate, Project, parse_gate
from everloop.workflows import RunResult

from ..experiment.made import opened, payments
from .shop import NOW, STEPS, add_spec, died_at, shop, train

EVERY = """\
train: {holdout: 20%}
gates:
  - rows within 50% of usual
  - recall >= 0.30
  - newest row within 60d
  - target rate between 2% and 20%
  - target rate within 50% of usual
  - duplicates < 1%
  - drift < 0.2
  - contract violations < 0.5%
  - beats yardstick
  - not worse than champion by 0.02, undecided passes
  - calibration error <= 0.2
  - predicted rate within 100% of actual
  - agreement <= 1e-4
  - latency <= 1s per row
  - bundle <= 5MB
  - stable within 1 over 3 seeds
  - gates.many_rows before training
  - gates.few_alarms
"""
OWN = '''\
"""Gates of the shop's own."""

from everloop import Verdict


def many_rows(evidence):
    assert evidence.score is None and evidence.metrics == {} and "__target" not in evidence.rows.columns
    return Verdict.passed(f"{evidence.rows.height:,} rows of {evidence.model}, {int(evidence.y.sum())} frauds")


def few_alarms(evidence):
    assert evidence.rows.height == len(evidence.score) == len(evidence.decision) == len(evidence.y)
    assert (evidence.decision == (evidence.score >= evidence.threshold)).all()
    share = float(evidence.decision.mean())
    found = Verdict.passed if share < 0.5 else Verdict.failed
    recall = evidence.metrics["recall"]["point"]
    return found(f"{share:.1%} of the payments would be stopped", share=share, recall=recall)
'''


def gated(root: Path, gates: str, *, own: str | None = OWN, rows: pl.DataFrame | None = None) -> tuple[Project, Model]:
    """The shop with these gates, a gates.py, and rows of its own if given."""
    _, model = shop(root, gates="gates: [recall >= 0.3]\n")
    if own is not None:
        (model.folder / "gates.py").write_text(own)
    path = model.folder / "model.yaml"
    path.write_text(path.read_text().replace("gates: [recall >= 0.3]\n", gates))
    if rows is not None:
        rows.write_parquet(root / "payments.parquet")
    return opened(root)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, RunResult]:
    found, _ = gated(tmp_path_factory.mktemp("gated") / "shop", EVERY, rows=payments(7_000))
    result = train(found, run_id="r-first")
    assert result.status == "finished", result.sentence
    return found, result


def test_every_gate_is_answered_in_the_order_it_was_written(trained: tuple[Project, RunResult]) -> None:
    found, result = trained
    gates = [str(gate) for gate in found.model().gates]
    assert [one["name"] for one in result.state["gates"]] == gates
    assert all(one["sentence"] and isinstance(one["evidence"], dict) for one in result.state["gates"])
    with Ledger.open(found, clock=SimulatedClock(NOW)) as ledger:
        version = ledger.version("fraud", 1)
        check = ledger.keyed("r-first", "check", 0)
    assert [one["name"] for one in version.record["verdicts"]] == gates
    assert check is not None
    assert len(check.payload["outputs"]["data_gates"]) == 8
    kept = json.loads((found.paths.runs / "r-first" / "gates.json").read_bytes())
    assert kept["gates"] == result.state["gates"]


def test_the_report_shows_them_as_a_table(trained: tuple[Project, RunResult]) -> None:
    found, result = trained
    report = (found.paths.runs / "r-first" / "report.md").read_text()
    table = [line for line in report.splitlines() if line.startswith("|")]
    for one in result.state["gates"]:
        assert f"| {one['name']} | {one['outcome']} | {one['sentence']} |" in table
    assert "| recall | 0." in report


def test_the_numbers_of_the_run_are_measured(trained: tuple[Project, RunResult]) -> None:
    found, result = trained
    by_name = {one["name"].split(" ")[0]: one["evidence"] for one in result.state["gates"]}
    bundle = BundleStore(found.paths.bundles)
    files = [path for path in bundle.path(result.state["bundle"]).iterdir() if path.is_file()]
    assert by_name["bundle"]["value"] == sum(path.stat().st_size for path in files)
    assert by_name["agreement"]["value"] == result.state["fit"]["agreement"]
    assert 0 < by_name["latency"]["graph_us"] < by_name["latency"]["value"]
    assert len(by_name["latency"]["rounds_us"]) == 5


def test_seeds_are_fitted_in_a_step_of_their_own(trained: tuple[Project, RunResult]) -> None:
    found, result = trained
    assert result.state["refit"]["seeds"] == [1, 2]
    scores = pl.read_parquet(found.paths.runs / "r-first" / "refits.parquet")
    judged = pl.read_parquet(found.paths.runs / "r-first" / "judged.parquet")
    assert scores.columns == ["seed_1", "seed_2"]
    assert scores.height == judged.height
    (stable,) = (one for one in result.state["gates"] if one["name"].startswith("stable"))
    values = stable["evidence"]["values"]
    assert set(values) == {"0", "1", "2"}
    assert stable["evidence"]["spread"] == max(values.values()) - min(values.values())
    # a learner without chance gives the same with every seed
    assert stable["evidence"]["spread"] == 0
    assert scores["seed_1"].equals(judged["candidate"], check_names=False)


def test_a_learner_that_hangs_on_its_seed_is_refused(tmp_path: Path) -> None:
    found, model = gated(tmp_path / "shop", "gates: [recall stable within 0.0001 over 2 seeds]\n", rows=payments(6_000))
    params = {"n_estimators": 8, "num_leaves": 15, "feature_fraction": 0.4, "subsample": 0.5}
    add_spec(model, 1, hyperparameters=params)
    result = train(found, run_id="r-shaky")
    assert result.status == "refused"
    assert "over 2 seeds recall goes from 0." in result.sentence
    assert "apart and not within 0.0001" in result.sentence


def test_functions_of_the_project_are_kept_with_their_sha256(trained: tuple[Project, RunResult]) -> None:
    found, result = trained
    before, after = (one for one in result.state["gates"] if one["name"].startswith("gates."))
    assert before["sentence"].startswith("7,000 rows of fraud, ")
    assert after["evidence"]["recall"] == result.state["metrics"]["recall"]["point"]
    content = (found.model().folder / "gates.py").read_bytes()
    for one in (before, after):
        assert (one["evidence"]["file"], one["evidence"]["sha256"]) == ("fraud/gates.py", content_id(content))
    kept = BundleStore(found.paths.bundles).evidence_path(result.state["bundle"]) / "gates.py"
    assert kept.read_bytes() == content


def test_gates_change_no_bundle_and_repeat_to_the_last_digit(
    trained: tuple[Project, RunResult], tmp_path: Path
) -> None:
    """Only the time that was measured differs; the bundle is that of a shop without such gates."""
    _, result = trained
    again, _ = gated(tmp_path / "again", EVERY, rows=payments(7_000))
    other = train(again, run_id="r-first")
    timed = ("latency",)
    for one, two in zip(result.state["gates"], other.state["gates"], strict=True):
        if not one["name"].startswith(timed):
            assert one == two
    gates = "train: {holdout: 20%}\ngates: [contract violations < 0.5%]\n"
    plain, _ = gated(tmp_path / "plain", gates, own=None, rows=payments(7_000))
    assert train(plain, run_id="r-plain").state["bundle"] == result.state["bundle"] == other.state["bundle"]


def test_a_second_training_is_held_against_what_is_usual(trained: tuple[Project, RunResult], tmp_path: Path) -> None:
    """Fewer rows, other amounts, repeated ids and rows that break the contract: each is seen, and nothing is fitted."""
    root = tmp_path / "next"
    shutil.copytree(trained[0].root, root)
    rows = payments(7_000, seed=3).filter(pl.int_range(pl.len()) % 3 == 0)
    place = pl.int_range(pl.len())
    rows = rows.with_columns(
        pl.col("amount") * 3, pl.when(place % 100 == 0).then(float("inf")).otherwise("v1").alias("v1")
    )
    pl.concat([rows, rows.tail(200)]).write_parquet(root / "payments.parquet")
    found, model = opened(root)
    path = model.folder / "model.yaml"
    path.write_text(path.read_text().replace("target rate within 50% of usual", "target rate within 0.1% of usual"))
    found, _ = opened(root)
    result = train(found, run_id="r-second")
    assert result.status == "refused"
    outcomes = {one["name"]: one["outcome"] for one in result.verdicts}
    assert outcomes == {
        "rows within 50% of usual": "failed",
        "newest row within 60d": "passed",
        "target rate between 2% and 20%": "passed",
        "target rate within 0.1% of usual": "failed",
        "duplicates < 1%": "failed",
        "drift < 0.2": "failed",
        "contract violations < 0.5%": "failed",
        "gates.many_rows before training": "passed",
    }
    drift = next(one for one in result.verdicts if one["name"] == "drift < 0.2")
    assert drift["sentence"].startswith("drifted from the rows of v1 (psi, not < 0.2): amount")
    assert "column 'v1' is infinite in" in result.sentence
    folder = found.paths.runs / "r-second"
    assert not (folder / "candidate.onnx").exists()
    report = (folder / "report.md").read_text()
    assert "Nothing was fitted" in report
    assert "Not asked, for want of a model:\n\n- recall >= 0.30\n- beats yardstick\n" in report
    assert json.loads((folder / "gates.json").read_bytes())["bundle"] is None
    with Ledger.open(found, clock=SimulatedClock(NOW)) as ledger:
        (refused,) = ledger.facts(kind="run.refused")
        steps = [fact.payload["step"] for fact in ledger.facts(kind="run.step", run="r-second")]
        assert (refused.payload["step"], steps) == ("check", ["configure", "snapshot"])
        assert len(ledger.versions("fraud")) == 1
        assert ledger.verify().ok


def test_a_third_training_with_the_same_rows_is_usual(trained: tuple[Project, RunResult], tmp_path: Path) -> None:
    root = tmp_path / "same"
    shutil.copytree(trained[0].root, root)
    found = Project.open(root, environment={})
    result = train(found, run_id="r-second")
    assert result.status == "finished", result.sentence
    by_name = {one["name"]: one for one in result.state["gates"]}
    assert "100% of the usual" in by_name["rows within 50% of usual"]["sentence"]
    assert by_name["drift < 0.2"]["evidence"]["columns"]["amount"]["distance"] == 0
    # all but the newest are fitted on now: another model, judged on other rows, and held against v1 on them
    assert "recall differs from v1 by" in by_name["not worse than champion by 0.02, undecided passes"]["sentence"]


def test_without_such_a_gate_one_row_that_breaks_the_contract_ends_the_run(tmp_path: Path) -> None:
    rows = payments(3_000).with_columns(
        pl.when(pl.int_range(pl.len()) == 7).then(float("inf")).otherwise("v1").alias("v1")
    )
    found, model = gated(tmp_path / "strict", "gates: [recall >= 0.1]\n", rows=rows)
    with pytest.raises(ContractViolation, match="column 'v1' is infinite in 1 of 3,000 rows"):
        load_rows(model, read_contract(model))
    assert train(found, run_id="r-one").status == "failed"
    found, model = gated(tmp_path / "lenient", "gates: [contract violations < 0.1%]\n", rows=rows)
    loaded = load_rows(model, read_contract(model))
    assert (loaded.read, loaded.frame.height, dict(loaded.left_out)) == (3_000, 2_999, {"violating": 1})
    result = train(found, run_id="r-one")
    assert result.status == "finished", result.sentence


def test_what_no_row_can_be_left_out_for_is_an_error_in_any_case(tmp_path: Path) -> None:
    _, model = gated(tmp_path / "shop", "gates: [contract violations < 50%]\n", rows=payments(300).drop("v2"))
    with pytest.raises(ContractViolation, match="column 'v2' is missing"):
        load_rows(model, read_contract(model))
    payments(300).with_columns(v2=pl.lit(float("inf"))).write_parquet(tmp_path / "shop" / "payments.parquet")
    with pytest.raises(ContractViolation, match="column 'v2' is infinite in 300 of 300 rows"):
        load_rows(model, read_contract(model))


def test_the_target_among_the_features_stays_an_error(tmp_path: Path) -> None:
    found, model = gated(tmp_path / "shop", "gates: [rows >= 10, recall >= 0.1]\n", rows=payments(2_000))
    model.features_path.write_text(model.features_path.read_text() + '    yield "cheat", pl.col("fraud") * 2\n')
    result = train(found, run_id="r-cheat")
    assert result.status == "failed"
    assert "fraud" in result.sentence


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps", [("gate",), pytest.param(("check", "refit", "gate"), marks=pytest.mark.chaos)], ids=["one", "every"]
)
def test_a_run_killed_while_its_gates_are_asked_answers_them_the_same(
    trained: tuple[Project, RunResult], steps: tuple[str, ...], tmp_path: Path
) -> None:
    """Law 9, of the steps that ask gates: their work done and not yet recorded."""
    found, _ = gated(tmp_path / "shop", EVERY, rows=payments(7_000))
    assert found.state.is_dir()
    for step in steps:
        code, said = died_at(found.root, "r-first", f"written:{step}")
        assert code == -signal.SIGKILL, said
    result = train(found, run_id="r-first")
    assert result.status == "finished", result.sentence
    assert result.state["bundle"] == trained[1].state["bundle"]
    for one, two in zip(result.state["gates"], trained[1].state["gates"], strict=True):
        assert one == two or one["name"].startswith("latency")


MISTAKES = {
    "raises": ("def ask(evidence):\n    return evidence.nothing\n", "raised fraud/gates.py:2: AttributeError"),
    "a bool": ("def ask(evidence):\n    return True\n", "gave True and no verdict: return Verdict.passed('why')"),
    "broken": ("def ask(evidence):\n    ...\n1 / 0\n", "cannot be run: fraud/gates.py:3: ZeroDivisionError"),
    "gone": ("ask = 5\n", "fraud/gates.py has no function 'ask' any more"),
    "dies": ("import os\ndef ask(evidence):\n    os._exit(9)\n", "its process ended with code 9"),
    "hangs": (
        "import threading\ndef ask(evidence):\n    threading.Event().wait()\n",
        "took longer than 3 s and was stopped",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_function_that_says_nothing_is_undecided(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "fraud"
    folder.mkdir()
    source, sentence = MISTAKES[name]
    (folder / "gates.py").write_text(source)
    gate, frame = OwnGate(file="gates", function="ask"), payments(50)
    given = OwnGateEvidence(
        model="fraud", as_of=NOW, rows=frame, y=frame["fraud"].to_numpy(), weight=frame["amount"].to_numpy()
    )
    found = ask_own_gates(
        [gate], given, folder=folder, scratch=tmp_path, clock=SystemClock(), stopped=lambda: False,
        limit_s=3.0 if name == "hangs" else 60.0,
    )  # fmt: skip
    verdict = found["gates.ask"]
    assert verdict.is_undecided
    assert sentence in verdict.sentence
    assert verdict.evidence["sha256"] == content_id(source.encode())
    assert list(tmp_path.glob(".everloop-gates-*")) == []


def test_what_a_function_is_given_comes_through_whole(tmp_path: Path) -> None:
    frame = payments(20)
    given = OwnGateEvidence(
        model="fraud", as_of=NOW, rows=frame, y=frame["fraud"].to_numpy(), weight=frame["amount"].to_numpy(),
        score=frame["v0"].to_numpy(), threshold=0.5, quantiles=frame.select(p10="v1", p90="v2"),
        metrics={"recall": {"point": 0.5, "low": 0.4, "high": 0.6}}, former=[{"version": 1, "rows": 20}],
    )  # fmt: skip
    write_own_evidence(given, tmp_path)
    back = read_own_evidence(tmp_path)
    assert back.rows.equals(frame)
    assert back.quantiles is not None
    assert back.quantiles.equals(frame.select(p10="v1", p90="v2"))
    assert (back.y == given.y).all()
    assert back.score is not None
    assert (back.score == given.score).all()
    assert (back.as_of, back.threshold, back.metrics, back.former) == (NOW, 0.5, given.metrics, given.former)
    assert (back.decision, back.champion_score) == (None, None)


def test_a_gates_file_that_is_changed_while_the_run_goes_on_is_refused(tmp_path: Path) -> None:
    """What judged the rows and what judges the model are one file; a second version of it would be no evidence."""
    own = OWN.replace(
        '    return Verdict.passed(f"{evidence.rows.height:,}',
        "    import pathlib\n    file = pathlib.Path(__file__)\n    file.write_text(file.read_text() + '# later')\n"
        '    return Verdict.passed(f"{evidence.rows.height:,}',
    )
    gates = "gates: [gates.many_rows before training, gates.few_alarms]\n"
    found, _ = gated(tmp_path / "shop", gates, own=own, rows=payments(3_000))
    result = train(found, run_id="r-moved")
    assert result.status == "refused"
    assert "fraud/gates.py was changed while its gates were asked; start another run" in result.sentence


def test_a_row_alone_is_timed_by_the_clock(trained: tuple[Project, RunResult]) -> None:
    found, result = trained

    class Ticking(SimulatedClock):
        """Every look at it takes a millisecond."""

        looks = 0

        def monotonic_s(self) -> float:
            self.looks += 1
            return self.looks / 1000

    bundle = BundleStore(found.paths.bundles).load(result.state["bundle"])
    rows = pl.read_parquet(found.paths.runs / "r-first" / "snapshot.parquet").tail(10)
    measured = row_latency(bundle, rows, clock=Ticking(NOW))
    assert measured.value == 200.0  # a millisecond of ten rows, twice
    assert measured.says == "a row alone takes 200us (features 100us, graph 100us)"


def test_gates_of_each_segment_with_enough_rows(tmp_path: Path) -> None:
    rows = payments(8_000).with_columns(
        country=pl.when(pl.int_range(pl.len()) % 50 == 0).then(pl.lit("FI")).otherwise(pl.lit("NO"))
    )
    found, model = gated(tmp_path / "shop", "gates: [recall >= 0.1]\n", rows=rows)
    path = model.folder / "model.yaml"
    gates = "gates: [recall >= 0.2 for each country with 200 rows, calibration error <= 0.3 for each country]\n"
    text = path.read_text().replace("  target: fraud\n", "  target: fraud\n  segments: [country]\n")
    path.write_text(text.replace("gates: [recall >= 0.1]\n", gates))
    found, model = opened(tmp_path / "shop")
    write_first_contract(model, root=found.root)
    result = train(found, run_id="r-each")
    assert result.status == "finished", result.sentence
    recall, calibration = result.state["gates"]
    assert recall["sentence"] == "'recall >= 0.20' holds for country NO (not judged: FI with fewer than 200 rows)"
    assert recall["evidence"]["not_judged"] == ["FI"]
    assert calibration["sentence"].endswith("(not judged: FI for want of rows of a class)")


def test_a_gate_that_was_written_during_a_run_is_undecided(tmp_path: Path) -> None:
    from everloop.production import GateEvidence, judge_gates

    from .test_gates import evaluation, evidence

    given: GateEvidence = evidence(evaluation(caught=50))
    for text in ("rows >= 5", "gates.ask", "drift < 0.2", "latency <= 1s per row", "stable within 1 over 3 seeds"):
        (found,) = judge_gates([parse_gate(text)], given)
        assert found.verdict.is_undecided, text
        assert "start another" in found.verdict.sentence


def test_the_pipeline_has_these_steps() -> None:
    assert STEPS.index("check") < STEPS.index("fit") < STEPS.index("refit") < STEPS.index("gate")
