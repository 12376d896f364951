"""Every command that README and docs show is run, in the order in which they show it."""

from __future__ import annotations

import ast
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from everloop.actors import ACTIONS
from everloop.project import NOTICES, SCOPES, Project, Retention, check_schedule, parse_document, parse_model
from everloop.serving.told_answer import RESERVED
from everloop.templates.arrival import Trips

from ..cli.terminal import environment, everloop
from ..cli.test_audit import Place, laid_out
from ..cli.test_schedules import Town
from ..experiment.made import payments
from ..production.scorer import new_rows, trained_shop

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/own-data.md",
    "docs/beside.md",
    "docs/experiments.md",
    "docs/regression.md",
    "docs/runs.md",
    "docs/registry.md",
    "docs/notebooks.md",
    "docs/mlflow.md",
    "docs/spec-stores.md",
)
ELSEWHERE = ("make ",)  # what make runs is this very suite, or a test of its own
CODES = {
    "everloop rollback": 1,  # there is one version yet, and nothing to go back to
}


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[Place]:
    yield from laid_out(tmp_path)


def commands(page: str) -> list[str]:
    """The lines of a page's console blocks that are commands."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / page).read_text(), re.S)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [line for line in lines if not line.startswith(ELSEWHERE)]


def lay_out(folder: Path) -> None:
    """The files that the pages name: rows of one's own, new ones to score, and past predictions of another model."""
    payments(10_000, positives=0.2).write_parquet(folder / "past.parquet")
    Trips(seed=1, start=datetime(2024, 1, 1, tzinfo=UTC), days=24, rows_per_day=400).frame().write_parquet(
        folder / "trips.parquet"
    )
    rng = np.random.default_rng(0)
    fraud = rng.random(20_000) < 0.1
    pl.DataFrame(
        {
            "t": pl.datetime_range(
                pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 1) + pl.duration(minutes=19_999), "1m", eager=True
            ),
            "s": np.clip(rng.normal(np.where(fraud, 0.7, 0.2), 0.15), 0, 1),
            "fraud": fraud,
        }
    ).write_parquet(folder / "predictions.parquet")


def leave_experiments(root: Path) -> None:
    """What the pages' notebooks leave: each file of `experiments/` that a page shows."""
    for page in PAGES:
        for name, text in re.findall(r"```yaml\n# (experiments/\S+)\n(.*?)```", (ROOT / page).read_text(), re.S):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(text)


def run(line: str, cwd: Path) -> Path:
    """Run one line; returns where the next one runs."""
    words = shlex.split(line)
    if words[0] == "cd":
        payments(500, seed=5).drop("fraud").write_parquet(cwd / words[1] / "new.parquet")
        leave_experiments(cwd / words[1])
        if (cwd / "predictions.parquet").exists():
            (cwd / words[1] / "predictions.parquet").write_bytes((cwd / "predictions.parquet").read_bytes())
        return cwd / words[1]
    assert words[0] == "everloop", f"a page shows a command that is not ours: {line}"
    if words[1] in ("up", "serve", "worker"):
        start_and_stop(words[1:], cwd)
        return cwd
    ended = everloop(*words[1:], cwd=cwd)
    assert ended.code == CODES.get(line, 0), f"{line}: {ended.err}"
    # a path is never cut, so that it can be copied
    assert all(len(shown) <= 80 or " " not in shown.strip() for shown in ended.out.splitlines()), ended.out
    return cwd


def start_and_stop(words: list[str], cwd: Path) -> None:
    """A command that goes on: it says where it listens, and Ctrl-C ends it well."""
    program = [sys.executable, "-c", "from everloop.cli import main; main()", *words, "--port", "0"]
    with subprocess.Popen(program, cwd=cwd, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        assert "http://" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_runs(page: str, tmp_path: Path) -> None:
    lay_out(tmp_path)
    cwd = tmp_path
    for line in commands(page):
        cwd = run(line, cwd)
        if line.startswith("cd "):  # the same model, found sooner, on data that is a month long
            (model,) = cwd.glob("*/model.yaml")
            text = model.read_text()
            for before, after in (
                ("logistic, random_forest, xgboost, lightgbm, neural_network", "lightgbm"),
                ("linear, random_forest, xgboost, lightgbm, neural_network", "lightgbm"),
                ("delay: 7d", "delay: 1d"),
                ("recall >= 0.60", "recall >= 0.30"),
                ("trials: 40", "trials: 5"),
            ):
                text = text.replace(before, after)
            model.write_text(text)


def test_the_page_on_the_registry_shows_settings_that_are_read() -> None:
    """Its `about` in a model.yaml, its `retention` in an everloop.yaml; what prune and diff take."""
    text = (ROOT / "docs" / "registry.md").read_text()
    about, retention = re.findall(r"```yaml\n(.*?)```", text, re.S)
    model, mistakes = parse_model(f"data: {{source: a, time: at, target: x}}\nobjective: f1\n{about}")
    assert model is not None, mistakes
    assert len(model.about.not_for) == 2
    rules = Retention.model_validate(parse_document(retention, name="everloop.yaml").value["retention"])
    assert [span.days for span in (rules.bundles, rules.runs, rules.spools, rules.traffic) if span] == [90, 30, 7, 400]


def test_the_page_on_other_servers_shows_settings_that_are_read() -> None:
    """Its `upstream` in a model.yaml; what it says of the answer's fields."""
    text = (ROOT / "docs" / "beside.md").read_text()
    (upstream,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    model, mistakes = parse_model(f"data: {{source: a, time: at, target: x}}\nobjective: f1\n{upstream}")
    assert model is not None, mistakes
    assert {one: server.protocol for one, server in model.upstreams.items()} == {7: "v2", 8: "mlflow"}
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", text, re.M))))
    assert told == RESERVED | {"id"}


def test_the_page_on_schedules_shows_what_runs(tmp_path: Path) -> None:
    """Its commands, in a project of several models; its forms, in a model.yaml; its DAG, as Python."""
    town = Town(tmp_path)
    text = (ROOT / "docs" / "schedules.md").read_text()
    shown = commands("docs/schedules.md")
    assert len(shown) == 5
    for line in shown:
        program, noun, *words = shlex.split(line)
        ended = town.say(*words)
        assert (program, noun, ended.code) == ("everloop", "schedule", 0), ended.err
        assert max(len(part) for part in ended.out.splitlines()) <= 80
    town.ledger.close()
    written = re.findall(r"`\{(schedule: .*?)\}`", text)
    assert len(written) == 6
    for rules in (*(f"train: {{{one}}}" for one in written), *re.findall(r"```yaml\n(.*?)```", text, re.S)):
        model, mistakes = parse_model(f"data: {{source: a, time: at, target: x}}\nobjective: f1\n{rules}\n")
        assert model is not None, mistakes
    for form in re.findall(r"^\| `\"?([^`\"]+)\"?`", text.partition("## What may be written")[2], re.M)[:6]:
        assert check_schedule(form) == form
    (dag,) = re.findall(r"```python\n(.*?)```", text, re.S)
    ast.parse(dag)


def test_the_page_on_audits_shows_what_runs(audited: Place) -> None:
    """Its commands, in a project whose versions took turns; its settings, as a project's files."""
    text = (ROOT / "docs" / "audit.md").read_text()
    shown = commands("docs/audit.md")
    assert len(shown) == 13
    for line in shown:
        program, *words = shlex.split(line)
        ended = everloop(*words, cwd=audited.root, EVERLOOP_CLOCK=f"shared:{audited.root.parent / 'clock'}")
        assert (program, ended.code) == ("everloop", 0), (line, ended.err)
        assert max((len(part) for part in ended.out.splitlines() if " " in part), default=0) <= 80
    settings, approval = re.findall(r"```yaml\n(.*?)```", text, re.S)
    (audited.root / "everloop.yaml").write_text(settings)
    model = audited.root / "fraud" / "model.yaml"
    model.write_text(model.read_text() + approval)
    project = Project.open(audited.root, environment={})
    assert project.settings.roles["approver"] == ("alice", "dora@bank.example")
    assert project.model("fraud").approval.not_author
    for role, actions in re.findall(r"^\| (viewer|scientist|approver|operator) \| (.*) \|$", text, re.M):
        told = {"train": "train", "approve": "approve specs", "search": "search", "rollback": "rollback", "key": "keys"}
        for action, word in told.items():
            assert (word in actions) == (role in ACTIONS[action]), (role, action)


def test_the_page_on_the_endpoint_shows_what_runs(tmp_path: Path) -> None:
    """Its commands make and revoke keys, its settings can be read, its scopes are all there are."""
    text = (ROOT / "docs" / "http.md").read_text()
    (tmp_path / "everloop.yaml").write_text("{}\n")
    shown = commands("docs/http.md")
    assert len(shown) == 5
    for line in shown:
        run(line, tmp_path)
    (settings,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    (tmp_path / "everloop.yaml").write_text(settings)
    endpoint = Project.open(tmp_path, environment={}).settings.endpoint
    assert (endpoint.max_body.bytes, str(endpoint.rate), endpoint.tls.key) == (16_000_000, "50/s", "tls/key.pem")
    assert tuple(re.findall(r"^\| `(predict|outcomes|operate)` \|", text, re.M)) == SCOPES


def test_the_page_on_notices_shows_what_runs(tmp_path: Path) -> None:
    """Its table holds every kind, its settings can be read, its commands run."""
    text = (ROOT / "docs" / "notices.md").read_text()
    (settings,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    (tmp_path / "everloop.yaml").write_text(settings)
    found = Project.open(tmp_path, environment={})
    assert [channel.name for channel in found.settings.channels] == ["slack-1", "mailto-1", "json-1"]
    assert tuple(re.findall(r"^\| `([a-z ]+)` \|", text, re.M)) == tuple(NOTICES)
    (tmp_path / "everloop.yaml").write_text("{}\n")
    shown = commands("docs/notices.md")
    assert len(shown) == 3
    for line in shown:
        run(line, tmp_path)


def test_the_page_on_batch_scoring_shows_what_runs(tmp_path: Path) -> None:
    """Its settings can be read, and its commands run in a project that has them."""
    text = (ROOT / "docs" / "scoring.md").read_text()
    (settings,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    place = trained_shop(tmp_path / "shop", score=settings)
    new_rows(20, seed=1).write_parquet(place / "new.parquet")
    new_rows(20, seed=1).write_parquet(place / "incoming" / "new.parquet")
    shown = commands("docs/scoring.md")
    assert len(shown) == 4
    for line in shown:
        run(line, place)
    result = pl.read_delta(str(place / "scored" / "fraud"))
    assert all(f"`{name}`" in text for name in result.columns)


def test_every_page_is_linked_and_every_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    linked: set[Path] = set()
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if "://" in target:
                continue
            path = (page.parent / target).resolve()
            assert path.exists(), f"{page.name} links to {target}, which is not there"
            linked.add(path)
    assert set((ROOT / "docs").glob("*.md")) <= linked
