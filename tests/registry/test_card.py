"""A version's card, two side by side, and what is said where a bundle is gone: on a family that was really trained."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from everloop.bundle import BundleStore
from everloop.clock import SimulatedClock
from everloop.control import examine
from everloop.errors import UsageError
from everloop.ledger import Ledger
from everloop.project import Project
from everloop.registry import VersionCard, bundle_place, card_page, difference, version_card
from everloop.serving.watcher import Watcher

from ..cli.terminal import everloop
from ..production.shop import NOW
from .family import trained_family


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return trained_family(tmp_path_factory.mktemp("family") / "shop")


@pytest.fixture
def family(trained: Project, tmp_path: Path) -> Project:
    """A copy of one's own, to take things away from."""
    shutil.copytree(trained.root, tmp_path / "shop")
    return Project.open(tmp_path / "shop", environment={})


def card(project: Project, number: int, *, days: float = 0) -> VersionCard:
    clock = SimulatedClock(NOW + timedelta(days=days))
    with Ledger.open(project, clock=clock) as ledger:
        return version_card(project, ledger, clock, model="fraud", number=number)


def test_the_card_says_what_it_is_for_and_what_not(trained: Project) -> None:
    shown = everloop("model", "show", "v2", cwd=trained.root)
    assert shown.code == 0, shown.err
    text = " ".join(shown.out.split())
    assert "Stops card payments that look stolen; the fraud desk calls the customer." in text
    assert "not for: Decisions about credit." in text
    assert "who answers for it: the fraud desk, fraud@example.com" in text
    assert re.search(r"f1 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", text)
    assert re.search(r"country SE 1\d\d \d+ ", text)
    assert "passed: recall 0." in text
    assert "fraud-s1 a test's own" in text
    assert "├─ fraud-s2" in text
    assert "v2 ◀ never answered" in text
    assert "v1 champion since 2024-04-01" in text
    assert "approved by alice on 2024-04-01" in text
    assert max(len(line) for line in shown.out.splitlines()) <= 80


def test_its_limits_are_derived_from_what_is_known(trained: Project) -> None:
    limits = card(trained, 2).limits
    said = " ".join(limits)
    assert "It has seen 10,000 rows of 2024-01-01 to 2024-03-10, and nothing before or after." in limits
    assert "The gate 'not worse than champion by 0.02, undecided passes' was undecided: f1 differs from v1" in said
    assert re.search(r"Known only roughly: .*recall 0\.\d+ \[0\.\d+, 0\.\d+\]", said)
    assert re.search(r"Too little was seen of country SE \(\d+ positives\)", said)
    assert "A value of country (2) that it has not seen" not in said  # v2's features leave the country out
    assert "A value of country (2) that it has not seen" in " ".join(card(trained, 1).limits)
    assert "version control" in said
    assert not any("gate" in one for one in card(trained, 1).limits)


def test_a_version_older_than_its_window_says_so(family: Project) -> None:
    path = family.root / "fraud" / "model.yaml"
    path.write_text(path.read_text().replace("train: {holdout: 20%}", "train: {holdout: 20%, window: 30d}"))
    found = Project.open(family.root, environment={})
    assert not any("window" in one for one in card(found, 2).limits)
    assert "Its newest row is" in " ".join(card(found, 2, days=60).limits)


def test_the_page_is_whole_and_draws_the_lineage(trained: Project) -> None:
    page = card_page(card(trained, 2))
    assert "<svg" in page
    for name in ("fraud-s1", "fraud-s2", "v1", "v2 ◀"):
        assert f">{name}</text>" in page
    assert "Performance with its intervals" in page
    assert "f1 per segment" in page
    # vega's own scripts name addresses of schemas in text; nothing of the page's own is fetched
    body = page[page.index("<body") :]
    assert not re.search(r'(?:src|href)="https?:', body)
    shown = everloop("model", "show", "v2", "--page", "--json", cwd=trained.root)
    assert Path(shown.json["page"]).read_text() == page
    assert shown.json["lineage"]["focus"] == "v2"
    assert shown.json["about"]["owner"] == "the fraud desk, fraud@example.com"
    assert shown.json["bundle_place"]["state"] == "here"


def test_what_people_write_cannot_break_the_page(family: Project) -> None:
    path = family.root / "fraud" / "model.yaml"
    path.write_text(path.read_text().replace("Stops card payments", "<script>alert(1)</script> Stops"))
    page = card_page(card(Project.open(family.root, environment={}), 2))
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_card_tells_what_was_said_then_where_it_says_something_else_now(family: Project) -> None:
    assert card(family, 1).then is None
    path = family.root / "fraud" / "model.yaml"
    path.write_text(path.read_text().replace("Stops card payments", "Ranks card payments"))
    now = card(Project.open(family.root, environment={}), 1)
    assert str(now.about["purpose"]).startswith("Ranks")
    assert now.then is not None
    assert str(now.then["purpose"]).startswith("Stops")


def test_a_version_of_an_older_everloop_has_a_card(family: Project) -> None:
    """Its record has none of the newer keys; the card says what is not known and shows the rest."""
    with sqlite3.connect(family.paths.ledger_db) as database:
        record = json.loads(database.execute("SELECT record FROM version WHERE number = 1").fetchone()[0])
        older = {name: value for name, value in record.items() if name not in ("origin", "segments")}
        database.execute("UPDATE version SET record = ? WHERE number = 1", (json.dumps(older).encode(),))
    found = card(family, 1)
    assert found.origin == {}
    assert found.configuration["learner"] == "lightgbm"
    assert "How it does per segment was not measured." in found.limits
    shown = everloop("model", "diff", "v1", "v2", cwd=family.root)
    assert shown.code == 0, shown.err
    assert "files, code and environment of fraud/v1" in shown.err


def test_two_versions_side_by_side(trained: Project) -> None:
    shown = everloop("model", "diff", "v1", "v2", cwd=trained.root)
    assert shown.code == 0, shown.err
    text = " ".join(shown.out.split())
    assert "n_estimators 100 140" in text
    assert "num_leaves" not in text  # the same in both
    assert "spec fraud-s1 fraud-s2" in text
    assert re.search(r"recall 0\.\d{3} \[.{12}\] 0\.\d{3} \[", text)
    assert "night col(paid_at)" in text or "night" in text
    assert re.search(r"threshold 0\.\d+ 0\.\d+", text)
    assert re.search(r"side by side: f1 [+-]0\.\d{3} \[.*\] on the 1,000 test rows of fraud/v2", text)
    assert max(len(line) for line in shown.out.splitlines()) <= 80
    record = everloop("model", "diff", "v2", "v1", "--json", cwd=trained.root).json
    by_name = {(one["group"], one["what"]): one for one in record["lines"]}
    assert by_name["hyperparameters", "num_leaves"]["same"]
    assert by_name["features", "night"]["first"] is None
    assert by_name["data", "rows' sha256"]["same"]
    assert by_name["files", "payments.parquet"]["same"]
    assert by_name["environment", "installed"]["same"]
    assert record["paired"]["metric"] == "f1"
    back = everloop("model", "diff", "v1", "v2", "--json", cwd=trained.root).json["paired"]
    assert record["paired"]["point"] == pytest.approx(-back["point"])


def test_a_version_does_not_differ_from_itself(trained: Project) -> None:
    shown = everloop("model", "diff", "v1", "v1", cwd=trained.root)
    assert shown.code == 0
    assert "differ in nothing that is known of both" in shown.err
    whole = everloop("model", "diff", "v1", "v1", "--all", cwd=trained.root)
    assert "num_leaves" in whole.out


def test_a_diff_needs_no_bundle_but_says_what_it_then_cannot_compare(family: Project) -> None:
    with Ledger.open(family, clock=SimulatedClock(NOW)) as ledger:
        BundleStore(family.paths.bundles).remove(ledger.version("fraud", 1).bundle)
    found = difference(family, card(family, 1), card(family, 2))
    assert found.paired is None
    assert found.unpaired == "the bundle of fraud/v1 is not here"
    assert found.unknown == ("features and contract of fraud/v1: its bundle is not here",)
    changed = {(line.group, line.what) for line in found.changed}
    assert ("hyperparameters", "n_estimators") in changed
    assert ("features", "night") in changed  # the names are in the facts
    assert not any(line.group == "contract" for line in found.lines)


def test_versions_of_two_models_are_not_compared(trained: Project) -> None:
    from dataclasses import replace

    one, two = card(trained, 1), card(trained, 2)
    other = replace(two, version=replace(two.version, model="abuse"))
    with pytest.raises(UsageError, match="of two models"):
        difference(trained, one, other)


def test_a_champion_without_its_bundle_is_told_by_the_doctor_and_the_endpoint_and_made_again(family: Project) -> None:
    """Deleted by hand: what can be done is said, and doing it gives the same bundle."""
    store = BundleStore(family.paths.bundles)
    with Ledger.open(family, clock=SimulatedClock(NOW)) as ledger:
        bundle = ledger.version("fraud", 1).bundle
        store.remove(bundle)
        place = bundle_place(family, ledger, ledger.version("fraud", 1))
        watcher = Watcher(ledger=ledger, load=store.load, models=["fraud"])
        watcher.look()
        problem = watcher.live.problems["fraud"]
    assert problem.startswith(f"fraud/v1 cannot answer: there is no bundle {bundle}")
    assert "put its folder back from a copy" in problem
    assert "'everloop rollback fraud'" in problem
    assert place.state == "absent"
    sick = {one.question: one for one in examine(family.root)}["bundle fraud/v1"]
    assert sick.outcome == "problem"
    assert f"put its folder back from a copy to .everloop/bundles/sha256/{bundle}" in sick.sentence
    assert "'everloop run retry r-first --from package'" in sick.sentence
    listed = everloop("model", "list", cwd=family.root)
    assert "champion (not here)" in " ".join(listed.out.split())
    again = everloop("run", "retry", "r-first", "--from", "package", cwd=family.root)
    assert again.code == 0, again.err
    assert store.load(bundle).id == bundle
    assert {one.question: one for one in examine(family.root)}["bundle fraud/v1"].outcome == "ok"


def test_the_same_spec_on_the_same_rows_brings_the_very_bundle_back(family: Project) -> None:
    """Then v1 answers again, as it did, and the new version has nothing to replace."""
    shutil.rmtree(family.paths.runs / "r-first")
    with Ledger.open(family, clock=SimulatedClock(NOW)) as ledger:
        bundle = ledger.version("fraud", 1).bundle
    BundleStore(family.paths.bundles).remove(bundle)
    again = everloop("train", "fraud", "--spec", "fraud-s1", "--without-champion", "--json", cwd=family.root)
    assert again.code == 0, again.err
    assert (again.json["bundle"], again.json["released"]) == (bundle, False)
    assert {one.question: one for one in examine(family.root)}["bundle fraud/v1"].outcome == "ok"


def test_a_champion_whose_run_is_gone_too_is_trained_again(family: Project) -> None:
    shutil.rmtree(family.paths.runs / "r-first")
    with Ledger.open(family, clock=SimulatedClock(NOW)) as ledger:
        version = ledger.version("fraud", 1)
        BundleStore(family.paths.bundles).remove(version.bundle)
        place = bundle_place(family, ledger, version)
    assert "train again: 'everloop train fraud --spec fraud-s1 --without-champion'" in place.sentence
    held = everloop("train", "fraud", "--spec", "fraud-s1", cwd=family.root)
    assert held.code == 1
    assert f"there is no bundle {version.bundle}" in held.err
    again = everloop("train", "fraud", "--spec", "fraud-s2", "--without-champion", "--json", cwd=family.root)
    assert again.code == 0, again.err
    assert again.json["released"]
    with Ledger.open(family, clock=SimulatedClock(NOW)) as ledger:
        routing = ledger.routing("fraud")
        assert routing is not None
        assert (routing.champion, routing.previous) == (again.json["version"], None)
        assert routing.reason == f"the bundle of v1 is lost, and v{routing.champion} passed its gates"
    refused = everloop("train", "fraud", "--spec", "fraud-s1", "--without-champion", cwd=family.root)
    assert refused.code == 3
    assert "is here, so a new version is compared with it" in refused.err
