"""What each extra is there for works with it alone; what is missing is one sentence that says which brings it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import packages_distributions
from pathlib import Path

import boto3
import httpx
import polars as pl
import pytest

from everloop.control.extras import EXTRAS

from .cli.terminal import environment, everloop
from .experiment.made import payments
from .extras import distribution_name, environment_with, libraries
from .monitoring.test_file_check import past
from .object_store import KEYS, aws, object_store

RUN_NOTEBOOK = """\
from pathlib import Path
from everloop.project import Cell, executed, notebook_text
text, problem = executed(notebook_text([Cell(kind="code", text="print(6 * 7)")]), folder=Path())
print(problem, "42" in text)
"""
MIRROR = """\
from everloop.clock import SystemClock
from everloop.control.mirrors import load_mirrors
from everloop.ledger import Ledger, RunStarted
from everloop.project import Project
project = Project.find()
with Ledger.open(project, clock=SystemClock()) as ledger:
    run = RunStarted(run="r-1", workflow="train", model="fraud", spec="fraud-s1", spec_hash="h", trigger="person")
    ledger.append("run.started", "r-1", run, actor="alice")
    (mirror,) = load_mirrors(project, ledger, SystemClock())
    print(mirror.sync())
"""


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_an_extra_brings_the_modules_that_are_said_of_it(extra: str) -> None:
    owners = packages_distributions()
    brought = libraries(extra) - libraries()
    for module in EXTRAS[extra]:
        assert {distribution_name(owner) for owner in owners[module]} & brought, module


def test_the_base_holds_no_part_of_an_extra() -> None:
    owners = packages_distributions()
    for module in (module for modules in EXTRAS.values() for module in modules):
        assert not {distribution_name(owner) for owner in owners[module]} & libraries(), module


READ = """\
from pathlib import Path
from everloop.data import collect, scan
print([collect(scan(source, root=Path()), source).height for source in ("s3://pay/one.csv", "s3://pay/table")])
"""


GET = """\
from everloop.integrations.ssm import SsmSpecs
from everloop.project import parse_model
rows = "data: {source: p, time: t, target: y}\\nobjective: f1\\nspecs: {store: ssm:/fraud, region: eu-west-1}\\n"
try:
    print(SsmSpecs(None, parse_model(rows)[0]).get().hyperparameters)
except Exception as error:
    print(type(error).__name__, error)
"""


def python(program: str, *, cwd: Path, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, env=environment() | more, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def endpoint(shop: Path, **more: str) -> Iterator[str]:
    """The address of the endpoint while it runs."""
    program = [sys.executable, "-c", "from everloop.cli import main; main()", "serve", "--port", "0"]
    process = subprocess.Popen(program, cwd=shop, env=environment() | more, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_past_predictions_are_judged_by_the_base_alone(tmp_path: Path) -> None:
    past(change=120).write_parquet(tmp_path / "past.parquet")
    base = environment_with(tmp_path / "base")
    words = ("check", "past.parquet", "--time", "t", "--score", "s", "--outcome", "fraud")
    found = everloop(*words, cwd=tmp_path, **base)
    assert found.code == 3, found.err
    assert everloop("--help", cwd=tmp_path, **base).code == 0


@pytest.mark.slow
def test_each_part_of_a_model_s_life_needs_its_own_extra_alone(tmp_path: Path) -> None:
    base, train, serve = (environment_with(tmp_path / name, *names) for name, names in (
        ("base", ()), ("train", ("train",)), ("serve", ("serve",)),
    ))  # fmt: skip
    rows = payments(10_000, positives=0.2)
    rows.write_parquet(tmp_path / "pay.parquet")
    shop = tmp_path / "shop"
    assert everloop("init", "shop", "--data", "pay.parquet", cwd=tmp_path, **base).code == 0
    path = shop / "fraud" / "model.yaml"
    text = path.read_text().replace("logistic, random_forest, xgboost, lightgbm, neural_network", "xgboost, lightgbm")
    path.write_text(text.replace("recall >= 0.60", "recall >= 0.30").replace("delay: 7d", "delay: 1d"))
    assert everloop("explore", cwd=shop, **base).code == 0
    for words, extra in (("search", "train"), ("train", "train"), ("serve", "serve"), ("up", "serve")):
        lacking = everloop(words, cwd=shop, **base)
        assert lacking.code == 1
        assert f"is not installed; pip install 'everloop[{extra}]' brings it" in lacking.err
        assert len(lacking.err.splitlines()) == 1
    searched = everloop("search", "--trials", "2", "--jobs", "1", cwd=shop, **train)
    assert searched.code == 0, searched.err
    assert everloop("approve", "fraud-s1", "--by", "alice", cwd=shop, **base).code == 0
    trained = everloop("train", cwd=shop, **train)
    assert trained.code == 0, trained.err
    with endpoint(shop, **serve) as address:
        row = rows[:1].drop("fraud").with_columns(pl.col("paid_at").dt.to_string("iso:strict")).to_dicts()
        answer = httpx.post(f"{address}/v1/models/fraud/predict", json={"rows": row})
        assert answer.status_code == 200, answer.text
        assert answer.json()["errors"] == []
        assert httpx.get(f"{address}/metrics").status_code == 200
    scored = everloop("score", "../pay.parquet", "scored.parquet", cwd=shop, **base)
    assert scored.code == 0, scored.err
    score = pl.read_parquet(shop / "scored.parquet")["score"][0]
    assert answer.json()["results"][0]["score"] == pytest.approx(score, abs=0)
    for words in ("status", "doctor", "check"):
        assert everloop(words, cwd=shop, **base).code == 0


def test_a_notebook_is_executed_by_its_extra_and_written_without(tmp_path: Path) -> None:
    notebook = environment_with(tmp_path / "notebook", "notebook")
    assert python(RUN_NOTEBOOK, cwd=tmp_path, **notebook) == "None True"
    said = python(RUN_NOTEBOOK, cwd=tmp_path, **environment_with(tmp_path / "base"))
    assert said == "the notebook was not executed: nbclient is not installed; the extra 'notebook' brings it False"


def test_the_mirror_needs_its_extra_alone(tmp_path: Path) -> None:
    mlflow = environment_with(tmp_path / "mlflow", "mlflow")
    payments(2_000, positives=0.2).write_parquet(tmp_path / "pay.parquet")
    made = everloop("init", "shop", "--data", "pay.parquet", cwd=tmp_path, **mlflow)
    assert made.code == 0, made.err
    settings = tmp_path / "shop" / "everloop.yaml"
    settings.write_text(settings.read_text() + "\nmlflow: sqlite:///mlflow.db\n")
    assert int(python(MIRROR, cwd=tmp_path / "shop", **mlflow)) > 0
    assert (tmp_path / "shop" / "mlflow.db").exists()


def test_a_profile_opens_an_object_store_with_its_extra_alone(tmp_path: Path) -> None:
    with object_store("pay") as made:
        rows = pl.DataFrame({"a": [1, 2, 3]})
        made.put("one.csv", rows.write_csv().encode())
        rows.write_delta("s3://pay/table", storage_options=made.options)
        (tmp_path / "credentials").write_text("[work]\naws_access_key_id=a\naws_secret_access_key=b\n")
        (tmp_path / "config").write_text("[profile work]\nregion=us-east-1\n")
        variables = {
            "AWS_PROFILE": "work",
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
            "AWS_CONFIG_FILE": str(tmp_path / "config"),
            "AWS_ENDPOINT_URL": made.url,
            "AWS_ALLOW_HTTP": "true",
        }
        found = python(READ, cwd=tmp_path, **environment_with(tmp_path / "aws", "aws"), **variables)
        assert found == "[3, 3]"


def test_a_configuration_in_ssm_needs_its_extra_alone(tmp_path: Path) -> None:
    with aws() as url:
        client = boto3.client("ssm", endpoint_url=url, region_name="eu-west-1", **KEYS)
        client.put_parameter(Name="/fraud/hyperparameters/max_depth", Value="7", Type="String")
        variables = {name.upper(): value for name, value in {**KEYS, "aws_endpoint_url": url}.items()}
        assert python(GET, cwd=tmp_path, **environment_with(tmp_path / "aws", "aws"), **variables) == "{'max_depth': 7}"
    said = python(GET, cwd=tmp_path, **environment_with(tmp_path / "base"))
    assert said.startswith("IntegrationError `specs: ssm:/…` needs boto3, which cannot be imported")
    assert said.endswith("pip install 'everloop[aws]'")
