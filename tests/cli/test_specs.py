"""`everloop spec` over files and over SSM, and approvals that a fresh ledger takes from the files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from everloop.ledger import Ledger
from everloop.project import Project, parse_spec, read_spec

from ..object_store import KEYS, aws
from ..production.shop import add_spec, shop
from .terminal import Ended, everloop

FILE = """\
model:
  algorithm: xgboost
  version: 2.0
  hyperparameters: {max_depth: 7, eta: 0.15, num_round: 150}
  performance: {accuracy: 0.961}
  approved_by: data-science-team
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found, _ = shop(tmp_path / "shop", rows=2_000, gates="gates: [accuracy >= 0.5]\n")
    return found.root


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with aws() as url:
        yield url


@pytest.fixture
def variables(address: str) -> dict[str, str]:
    said = {**KEYS, "aws_endpoint_url": address, "aws_default_region": "eu-west-1"}
    return {name.upper(): value for name, value in said.items()}


@pytest.fixture
def ssm(address: str) -> Any:
    return boto3.client("ssm", endpoint_url=address, region_name="eu-west-1", **KEYS)


def configure(root: Path, *more: str) -> None:
    path = root / "fraud" / "model.yaml"
    kept = [line for line in path.read_text().splitlines() if not line.startswith(("specs:", "approval:"))]
    path.write_text("\n".join([*kept, *more]) + "\n")


def fine(ended: Ended) -> Ended:
    assert ended.code == 0, ended.err
    plain = [line for line in ended.out.splitlines() if not line.startswith(("{", "["))]
    assert all(len(line) <= 80 for line in plain), ended.out
    return ended


def test_files_are_the_store_where_nothing_else_is_said(root: Path) -> None:
    (root / "experiments").mkdir()
    (root / "experiments" / "fraud-detection-v2.yaml").write_text(FILE)
    done = fine(everloop("spec", "put", "experiments/fraud-detection-v2.yaml", cwd=root))
    assert done.out == "fraud-s2 is in files, version fraud-s2\n"
    assert "note: performance was left out: what was measured there is not taken over" in done.err
    assert "note: approved_by was left out: a name in a file approves nothing" in done.err
    assert "next: everloop approve fraud-s2 --by" in done.err
    found = fine(everloop("spec", "get", cwd=root))
    assert parse_spec(found.out) == read_spec(root / "fraud" / "specs" / "fraud-s2.yaml")
    assert "fraud-s2 (fraud/specs/fraud-s2.yaml), not approved: everloop approve fraud-s2 --by" in found.err
    assert "spec: fraud-s1" in fine(everloop("spec", "get", "fraud-s1", cwd=root)).out
    fine(everloop("approve", "fraud-s2", "--by", "alice", cwd=root))
    history = fine(everloop("spec", "history", cwd=root))
    assert [line.split()[0] for line in history.out.splitlines()[1:3]] == ["fraud-s1", "fraud-s2"]
    assert "approved by alice" in history.out
    diff = fine(everloop("spec", "diff", "s1", "s2", "--json", cwd=root)).json
    assert diff["diff"]["learner"] == {"from": "lightgbm", "to": "xgboost"}
    assert "learner" in fine(everloop("spec", "diff", "fraud-s1", cwd=root)).out
    same = fine(everloop("spec", "diff", "s1", "fraud-s1", cwd=root))
    assert (same.out, same.err) == ("", "fraud-s1 and fraud-s1 say the same\n")
    refused = everloop("spec", "put", "fraud-s1", "--label", "candidate", cwd=root)
    assert (refused.code, refused.out) == (2, "")
    assert "a folder of specs has no labels" in refused.err


def test_ssm_from_a_notebooks_put_to_an_approval(root: Path, ssm: Any, variables: dict[str, str]) -> None:
    configure(root, "specs: {store: ssm:/fraud-detection, learner: xgboost}")
    empty = everloop("spec", "get", cwd=root, **variables)
    assert empty.code == 1
    assert "ssm:/fraud-detection holds no configuration; 'everloop spec put NAME' writes one there" in empty.err
    ssm.put_parameter(Name="/fraud-detection/hyperparameters/max_depth", Value="7", Type="String", Overwrite=True)
    ssm.put_parameter(Name="/fraud-detection/hyperparameters/eta", Value="0.15", Type="String", Overwrite=True)
    found = fine(everloop("spec", "get", "--json", cwd=root, **variables)).json
    assert (found["new"], found["approved_by"], found["path"]) == (True, None, "fraud/specs/fraud-s2.yaml")
    assert found["version"].startswith("h2-")
    assert found["parts"]["hyperparameters/eta"]["version"] == "1"
    spec = read_spec(root / found["path"])
    assert (spec.learner, spec.hyperparameters["max_depth"]) == ("xgboost", 7)
    assert spec.source is not None
    assert (spec.source.store, spec.source.version) == ("ssm:/fraud-detection", found["version"])
    fine(everloop("approve", "fraud-s2", "--by", "alice", cwd=root, **variables))
    again = fine(everloop("spec", "get", "--json", cwd=root, **variables)).json
    assert (again["new"], again["approved_by"]) == (False, "alice")
    by_hand = fine(everloop("approve", "fraud-s1", "--by", "alice", cwd=root, **variables))
    assert "next: everloop spec put fraud-s1, then everloop train" in by_hand.err
    put = fine(everloop("spec", "put", "fraud-s1", "--json", cwd=root, **variables)).json
    assert (put["version"], put["approved_by"]) == ("r2", "alice")
    diff = fine(everloop("spec", "diff", found["version"], cwd=root, **variables))
    assert '"xgboost"' in diff.out
    assert '"lightgbm"' in diff.out
    history = fine(everloop("spec", "history", "--json", cwd=root, **variables)).json
    # the first parameter alone was a configuration too, and nobody's spec
    assert [(one["version"][0], one["spec"], one["approved_by"]) for one in history] == [
        ("h", None, None),
        ("h", "fraud-s2", "alice"),
        ("r", "fraud-s1", "alice"),
    ]
    fine(everloop("spec", "history", cwd=root, **variables))
    with Ledger.open(Project.open(root), clock=Project.open(root).clock()) as ledger:
        (fact,) = ledger.facts(kind="spec.put")
    assert (fact.payload["spec"], fact.payload["version"]) == ("fraud-s1", "r2")


def test_ssm_with_labels(root: Path, variables: dict[str, str]) -> None:
    configure(root, "specs: {store: ssm:/fraud-labels, label: production}")
    model = Project.open(root).model()
    add_spec(model, 2, hyperparameters={"n_estimators": 30})
    fine(everloop("spec", "put", "fraud-s1", cwd=root, **variables))
    done = fine(everloop("spec", "put", "fraud-s2", "--label", "candidate", cwd=root, **variables))
    assert done.out == "fraud-s2 is in ssm:/fraud-labels, version r4, label candidate\n"
    assert "spec: fraud-s1" in fine(everloop("spec", "get", cwd=root, **variables)).out
    assert "spec: fraud-s2" in fine(everloop("spec", "get", "candidate", cwd=root, **variables)).out
    moved = fine(everloop("spec", "put", "fraud-s2", cwd=root, **variables))
    assert moved.out == "fraud-s2 is in ssm:/fraud-labels, version r4, label candidate, production\n"
    assert "spec: fraud-s2" in fine(everloop("spec", "get", cwd=root, **variables)).out


def test_a_store_that_is_down_is_one_sentence(root: Path, variables: dict[str, str]) -> None:
    configure(root, "specs: ssm:/fraud-detection")
    down = variables | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    for words in (("get",), ("history",), ("put", "fraud-s1"), ("diff", "fraud-s1")):
        ended = everloop("spec", *words, cwd=root, **down)
        assert (ended.code, ended.out) == (1, "")
        assert "AWS SSM (ssm:/fraud-detection) says: Could not connect" in ended.err
        assert len(ended.err.splitlines()) == 1
    configure(root, "specs: models:/FraudDetection@champion")
    ended = everloop("spec", "get", cwd=root)
    assert ended.code == 2
    assert "everloop.yaml does not say where MLflow is; write mlflow: http://HOST:PORT" in ended.err


@pytest.mark.parametrize(
    ("specs", "sentence"),
    [
        ("specs: s3://bucket/fraud", "specs: s3://bucket/fraud is of no store that is installed; there are files"),
        ("specs: nowhere", "'nowhere' is not a store of specs (files, ssm:/fraud-detection or models:/"),
        ("specs: ssm:fraud", "ssm:fraud is not a prefix of parameters, such as ssm:/fraud-detection"),
        ("specs: models:/FraudDetection", "does not say which version holds; write models:/NAME@ALIAS"),
        (
            "specs: {store: files, label: production}",
            "specs.label: is of ssm:/…, and the specs are in files",
        ),
        ("specs: {store: files, learner: xgboost}", "specs.learner: a spec's file says its learner; remove it"),
        ("approval: {trust: [s3]}", "'s3' is not one of ssm, mlflow"),
    ],
)
def test_what_is_no_store_is_said_with_what_is(root: Path, specs: str, sentence: str) -> None:
    configure(root, specs)
    ended = everloop("spec", "get", cwd=root)
    assert ended.code != 0
    assert sentence in ended.err


def test_a_fresh_ledger_takes_the_approvals_of_the_files(root: Path) -> None:
    model = Project.open(root).model()
    for number in (2, 3, 4):
        add_spec(model, number, seed=number)
    for name in ("fraud-s1", "fraud-s2", "fraud-s3"):
        fine(everloop("approve", name, "--by", "alice", cwd=root))
    edited = model.spec_path(2)
    edited.write_text(edited.read_text().replace("seed: 2", "seed: 9"))
    unsigned = model.spec_path(3)
    unsigned.write_text("\n".join(line for line in unsigned.read_text().splitlines() if "  hash:" not in line) + "\n")
    shutil.rmtree(root / ".everloop")
    before = {path.name: path.read_text() for path in model.specs_folder.iterdir()}
    done = everloop("approve", "--import", cwd=root)
    assert done.code == 3
    assert done.out.startswith("fraud-s1 approved by alice at ")
    assert done.out.endswith(" UTC, from its file\n")
    assert "fraud-s2 was changed after alice approved it: what was approved has the hash" in done.err
    assert "fraud-s3: the approval in its file names no hash" in done.err
    assert {path.name: path.read_text() for path in model.specs_folder.iterdir()} == before
    with Ledger.open(Project.open(root), clock=Project.open(root).clock()) as ledger:
        (fact,) = ledger.facts(kind="spec.approved")
        assert ledger.verify().ok
    approval = model.spec(1).approval
    assert approval is not None
    assert approval.at is not None
    assert (fact.payload["by"], fact.payload["spec_hash"]) == ("alice", model.spec(1).hash)
    assert fact.payload["details"]["imported"] is True
    assert fact.payload["details"]["approved_at"] == approval.at.isoformat()
    again = fine(everloop("approve", "fraud-s1", "--import", "--json", cwd=root))
    assert again.json == {"imported": [], "refused": []}
    stands = fine(everloop("approve", "fraud-s1", "--by", "bob", cwd=root))
    assert "it was approved before, and nothing was changed; the approval is alice's" in stands.err


def test_an_import_asks_who_may_approve(root: Path) -> None:
    fine(everloop("approve", "fraud-s1", "--by", "mallory", cwd=root))
    shutil.rmtree(root / ".everloop")
    (root / "everloop.yaml").write_text("roles: {approver: [alice]}\n")
    done = everloop("approve", "--import", cwd=root)
    assert done.code == 3
    assert "everloop key create" in done.err
    for words in (("approve",), ("approve", "--import", "--by", "alice"), ("spec", "get", "s1", "--from-mlflow", "7")):
        ended = everloop(*words, cwd=root)
        assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
