"""What exploring a source finds, on the terminal, as JSON and as a page."""

from __future__ import annotations

import io
import json
import re
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from everloop.data import infer_contract, scan, write_contract
from everloop.errors import SourceError
from everloop.experiment import Exploration, exploration_screen, explore
from everloop.experiment.charts import charts, classes_chart
from everloop.experiment.screens import sparkline
from everloop.pages import svg
from tests.experiment.made import START, numeric_project, opened, payments, project, trips


def explored(root: Path, frame: pl.DataFrame, *, more: str = "", out: Path | None = None) -> Exploration:
    return explore(*project(root, frame, more=more), out=out)


def kinds(seen: Exploration) -> set[str]:
    return {finding.kind for finding in seen.findings}


def screen(seen: Exploration) -> str:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(exploration_screen(seen))
    return console.export_text()


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Exploration:
    """Payments with most of what can be wrong."""
    frame = payments(1_000)
    frame = frame.with_columns(
        same=pl.lit(1.0),
        counter=pl.int_range(pl.len()),
        number=pl.int_range(pl.len()).shuffle(seed=1),
        leak=pl.col("fraud") * 10.0 + pl.col("v3") * 0.01,
        gap=pl.when(pl.col("v2") > 0).then(pl.col("v2")),
    )
    frame = pl.concat([frame[500:], frame[:500], frame[:7]])
    folder = tmp_path_factory.mktemp("spoiled")
    return explored(folder / "p", frame, out=folder / "page" / "explore.html")


def test_what_is_wrong_is_found_and_the_leak_comes_first(spoiled: Exploration) -> None:
    assert spoiled.findings[0].kind == "gives the target away"
    assert spoiled.findings[0].column == "leak"
    wanted = {"constant", "id as feature", "gives the target away", "missing", "duplicates", "repeated ids"}
    assert wanted | {"time backwards", "few positives", "short span"} <= kinds(spoiled)
    assert {finding.column for finding in spoiled.findings if finding.kind == "constant"} == {"same"}
    assert {finding.column for finding in spoiled.findings if finding.kind == "id as feature"} == {"number"}
    assert {finding.column for finding in spoiled.findings if finding.kind == "clock as feature"} == {"counter"}


def test_rows_span_columns_and_target_are_as_in_the_file(spoiled: Exploration) -> None:
    assert spoiled.rows == 1_007
    assert spoiled.span is not None
    assert spoiled.span.start == START
    assert spoiled.span.length == timedelta(minutes=10 * 999)
    assert spoiled.column("gap").missing > 400
    assert spoiled.column("fraud").role == "target"
    assert spoiled.target is not None
    assert spoiled.target.positives >= 80
    assert sum(period.rows for period in spoiled.periods) == 1_000  # of one id the earliest row counts
    assert {a.feature for a in spoiled.associations} >= {"amount_log", "night", "leak"}


def test_the_screen_is_80_columns_wide_and_tells_every_kind(spoiled: Exploration) -> None:
    text = screen(spoiled)
    assert max(map(len, text.splitlines())) <= 80
    assert "leak alone separates the classes" in text
    assert "1,007 rows × 13 columns" in text


def test_json_holds_everything(spoiled: Exploration) -> None:
    record = json.loads(json.dumps(spoiled.to_dict(), allow_nan=False))
    assert record["rows"] == 1_007
    assert record["findings"][0]["evidence"]["auc"] > 0.99
    assert record["span"]["start"].startswith("2024-01-01T00:00:00")


def test_the_page_fetches_nothing(spoiled: Exploration) -> None:
    assert spoiled.page is not None
    text = Path(spoiled.page).read_text(encoding="utf-8")
    assert "vegaEmbed" in text
    assert "leak alone separates the classes" in text
    markup = re.sub(r"(?s)<script>.*?</script>", "", text)
    assert re.findall(r"<script|<img|<iframe|<link\b|@import|url\(", markup) == []
    specs = json.loads(re.findall(r"const charts = (.*);\n", text)[0])
    assert len(specs) >= 3
    assert all("url" not in json.dumps(spec.get("data", {})) for spec in specs)


def test_distributions_name_their_values_and_the_page_says_that_some_are_left_out(tmp_path: Path) -> None:
    frame = payments(600).with_columns(
        *(pl.col("v0").shuffle(seed=at).alias(f"more{at}") for at in range(30)),
        city=pl.when(pl.col("fraud") == 1).then(pl.lit("Rome")).otherwise(pl.lit("Bern")),
    )
    seen = explored(tmp_path / "p", frame, out=tmp_path / "page.html")
    text = Path(seen.page or "").read_text(encoding="utf-8")
    assert f"The 30 of {len(seen.associations)} features that tell most alone" in text
    assert '\\"Bern\\", \\"Rome\\"' in text
    picture = svg(classes_chart(seen))
    assert picture.count("below ") + picture.count("Bern") >= 20
    assert ">Rome<" in picture


def test_of_numbers_the_target_is_drawn(tmp_path: Path) -> None:
    seen = explore(*numeric_project(tmp_path / "p"))
    assert seen.target is not None
    assert (len(seen.target.edges), sum(seen.target.shares)) == (41, pytest.approx(1))
    assert next(iter(charts(seen))) == "Distribution of the target"


def test_a_column_that_one_word_makes_a_text_is_told(tmp_path: Path) -> None:
    place = pl.int_range(pl.len())
    spoiled = pl.when(place == 7).then(pl.lit("n/a")).otherwise(pl.col("v0").cast(pl.String))
    codes = pl.when(place % 9 == 0).then(pl.format("C{}", place)).otherwise(place.cast(pl.String))
    frame = payments(600).with_columns(v0=spoiled, invoice=codes, word=pl.lit("7"))
    found = [one for one in explored(tmp_path / "p", frame).findings if one.kind == "almost numbers"]
    assert [(one.column, "numbers but for 'n/a'" in one.sentence) for one in found] == [("v0", True)]


def test_long_numbers_are_not_cut(tmp_path: Path) -> None:
    seen = explored(tmp_path / "p", payments(600).with_columns(big=pl.int_range(pl.len()) * 10**10))
    line = next(line for line in screen(seen).splitlines() if line.startswith("big") and "int64" in line)
    assert line.endswith("5.99e+12")


def test_a_name_from_the_data_cannot_leave_the_page(tmp_path: Path) -> None:
    frame = payments(300).rename({"v0": "</script><script>alert(1)</script>"})
    seen = explored(tmp_path / "p", frame, out=tmp_path / "page.html")
    text = Path(seen.page or "").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in text


def test_good_data_is_said_to_be_good(tmp_path: Path) -> None:
    seen = explored(tmp_path / "p", payments(3_000))
    assert seen.findings == ()
    assert "Nothing looks wrong." in screen(seen)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (pl.col("fraud") * 0, "one class"),
        (pl.when(pl.col("v0") > 0).then(pl.col("fraud")), "target missing"),
        (pl.when(pl.col("v0") > 2).then(7).otherwise(pl.col("fraud")), "target values"),
    ],
)
def test_a_target_that_is_no_target_is_told(tmp_path: Path, change: pl.Expr, kind: str) -> None:
    made = project(tmp_path / "p", payments(600))
    payments(600).with_columns(change.alias("fraud")).write_parquet(tmp_path / "p" / "payments.parquet")
    assert kind in kinds(explore(*made))


def test_weights_count_and_are_told(tmp_path: Path) -> None:
    frame = payments(2_000).with_columns(weight=pl.when(pl.col("fraud") == 1).then(1.0).otherwise(50.0))
    root = tmp_path / "p"
    _, model = project(root, frame)
    text = (root / "fraud" / "model.yaml").read_text()
    (root / "fraud" / "model.yaml").write_text(text.replace("  target: fraud\n", "  target: fraud\n  weight: weight\n"))
    where, model = opened(root)
    write_contract(model.contract_path, infer_contract(scan("payments.parquet", root=root), model, reads={"paid_at"}))
    seen = explore(where, model)
    assert "weights" in kinds(seen)
    assert seen.target is not None
    positives = int(frame["fraud"].sum())
    assert seen.target.rate == pytest.approx(positives / (positives + 50 * (2_000 - positives)))


def test_rows_that_break_the_contract_are_a_finding_and_the_rest_is_still_told(tmp_path: Path) -> None:
    root = tmp_path / "p"
    project(root, payments(500))
    payments(500).with_columns(v1=pl.when(pl.col("v0") > 0).then(pl.col("v1"))).write_parquet(root / "payments.parquet")
    seen = explore(*opened(root))
    assert [finding.weight for finding in seen.findings][:1] == ["stop"]
    assert "'v1' is null" in seen.findings[0].sentence
    assert seen.rows == 500
    assert seen.associations == ()
    assert "'v1' is null" in screen(seen).replace("\n", " ")


def test_rows_that_a_gate_allows_for_are_a_finding_and_the_target_is_looked_at(tmp_path: Path) -> None:
    """A search leaves them out, so the others are what it sees."""
    found, model = project(tmp_path / "shop", payments(600), more="gates: [contract violations < 5%]\n")
    place = pl.int_range(pl.len())
    rows = payments(600).with_columns(v1=pl.when(place == 9).then(float("inf")).otherwise("v1"))
    rows.write_parquet(tmp_path / "shop" / "payments.parquet")
    told = explore(found, model)
    assert "column 'v1' is infinite in 1 of 600 rows" in told.findings[0].sentence
    assert told.associations != ()


@pytest.mark.parametrize(
    ("time", "says"),
    [
        (pl.col("paid_at").dt.to_string("iso") + " o'clock", "is not an ISO-8601 time"),
        (pl.lit(1.5), "must hold times and holds something else"),
    ],
)
def test_times_that_cannot_be_read_are_a_finding_told_once(tmp_path: Path, time: pl.Expr, says: str) -> None:
    root = tmp_path / "p"
    project(root, payments(500))
    payments(500).with_columns(paid_at=time).write_parquet(root / "payments.parquet")
    seen = explore(*opened(root))
    assert [says in finding.sentence for finding in seen.findings if finding.weight == "stop"] == [True]
    assert (seen.rows, seen.span) == (500, None)


def test_rows_without_a_time_are_told_once_and_left_out(tmp_path: Path) -> None:
    frame = payments(500).with_columns(paid_at=pl.when(pl.int_range(pl.len()) != 7).then(pl.col("paid_at")))
    seen = explored(tmp_path / "p", frame)
    told = [finding.kind for finding in seen.findings if finding.kind in ("time missing", "unmatured", "unusable")]
    assert told == ["time missing"]


def test_features_that_cannot_be_served_are_a_finding(tmp_path: Path) -> None:
    root = tmp_path / "p"
    _, model = project(root, payments(500))
    model.features_path.write_text(model.features_path.read_text().replace("log1p()", "log1p().mean()"))
    seen = explore(*opened(root))
    assert seen.findings[0].kind == "unusable"
    assert "amount_log" in seen.findings[0].sentence


def test_without_a_contract_it_is_inferred(tmp_path: Path) -> None:
    root = tmp_path / "p"
    _, model = project(root, payments(500))
    model.contract_path.unlink()
    assert explore(*opened(root)).column("v0").role == "feature"
    assert not model.contract_path.exists()


@pytest.mark.parametrize("contract", [True, False])
def test_a_source_without_rows_is_a_finding(tmp_path: Path, contract: bool) -> None:
    root = tmp_path / "p"
    _, model = project(root, payments(500))
    payments(500).clear().write_parquet(root / "payments.parquet")
    if not contract:
        model.contract_path.unlink()
    seen = explore(*opened(root))
    assert [finding.kind for finding in seen.findings] == ["empty"]
    assert "The file has no rows." in screen(seen)


def test_a_column_of_one_value_and_gaps_is_constant_and_a_list_is_no_trouble(tmp_path: Path) -> None:
    rows = pl.int_range(pl.len())
    frame = payments(100_001).with_columns(
        gaps=pl.when(rows % 3 > 0).then(1.0).otherwise(float("nan")),
        places=pl.concat_list(rows % 7),
        both=pl.struct(a=rows % 5),
    )
    seen = explored(tmp_path / "p", frame)
    assert [finding.column for finding in seen.findings if finding.kind == "constant"] == ["gaps"]
    assert [seen.column(name).distinct for name in ("gaps", "places", "both")] == [1, 7, 5]


@pytest.mark.parametrize("kind", [pl.Boolean, pl.String, pl.Float64, pl.Int8])
def test_the_positive_class_is_the_one_a_search_learns(tmp_path: Path, kind: type[pl.DataType]) -> None:
    frame = payments(600).with_columns(pl.col("fraud").cast(kind))
    root = tmp_path / "p"
    _, model = project(root, payments(600))
    path = root / "fraud" / "model.yaml"
    path.write_text(path.read_text().replace("  target: fraud\n", "  target: fraud\n  positive: 1\n"))
    frame.write_parquet(root / "payments.parquet")
    model.contract_path.unlink()
    seen = explore(*opened(root))
    assert seen.target is not None
    assert (seen.target.positives, seen.target.rate) == (48, pytest.approx(0.08))
    assert kinds(seen) & {"target values", "one class", "unusable"} == set()


def test_where_silence_means_no_nothing_is_missing(tmp_path: Path) -> None:
    frame = payments(600).with_columns(fraud=pl.when(pl.col("fraud") == 1).then(1))
    seen = explored(tmp_path / "p", frame, more="outcome: {absent: negative}\n")
    assert seen.target is not None
    assert (seen.target.missing, seen.target.positives, seen.target.rate) == (0, 48, pytest.approx(0.08))
    assert kinds(seen) & {"target missing", "one class", "label matures late"} == set()


def test_of_numbers_that_cannot_be_used_nothing_is_made_up(tmp_path: Path) -> None:
    made = numeric_project(tmp_path / "p")
    trips().with_columns(km=pl.lit("far")).write_parquet(tmp_path / "p" / "trips.parquet")
    seen = explore(*made)
    assert seen.target is not None
    assert (seen.target.rate, seen.target.median, seen.target.numeric) == (None, None, True)
    assert "minutes: not looked at, since no row can be used" in screen(seen)
    assert "<code>minutes</code> was not looked at" in seen._repr_html_()


def test_a_number_that_never_changes_is_told(tmp_path: Path) -> None:
    made = numeric_project(tmp_path / "p")
    trips().with_columns(minutes=pl.lit(7.5)).write_parquet(tmp_path / "p" / "trips.parquet")
    found = explore(*made).findings
    assert [(one.kind, one.sentence) for one in found if one.weight == "stop"] == [
        ("one value", "minutes is 7.5 in every usable row: with one value there is nothing to learn.")
    ]


def test_that_nothing_is_known_is_said_of_the_importances(tmp_path: Path) -> None:
    noise = pl.Series("fraud", (np.random.default_rng(7).random(2_000) < 0.3).astype(int))
    seen = explored(tmp_path / "p", payments(2_000).with_columns(noise))
    assert {one.permutation for one in seen.importances} == {0.0}
    assert "tell no more than chance may" in " ".join(screen(seen).split())


def test_a_source_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    root = tmp_path / "p"
    project(root, payments(500))
    (root / "payments.parquet").unlink()
    with pytest.raises(SourceError, match="does not exist"):
        explore(*opened(root))


def test_a_line_of_blocks_rises_and_falls_with_the_numbers() -> None:
    assert sparkline([0.0, 0.5, 1.0, None, 1.0]) == "▁▅█ █"
    assert len(sparkline(list(np.linspace(0, 1, 500)))) == 60
    assert sparkline([]) == ""
