"""The spec: a file that reads back, and a hash that only an approval leaves alone."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.errors import ConfigurationError
from everloop.project import Approval, Source, Spec, parse_spec, read_spec, spec_diff, spec_text, write_spec

SPEC = Spec.new(
    name="fraud-s2",
    objective="recall at precision >= 0.80",
    learner="xgboost",
    hyperparameters={"max_depth": 7, "eta": 0.15, "num_round": 150},
    features=["V1", "amount_log"],
    threshold=0.4312,
    expected={"recall": {"low": 0.66, "point": 0.71, "high": 0.76}},
    data={"rows": 660_000, "hash": "ab12", "start": "2026-01-01T00:00:00Z"},
    parent="fraud-s1",
    reason="alert a-1: recall fell from 0.80 to 0.49",
    diff={"data.end": {"from": "2026-03-01", "to": "2026-04-01"}},
)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
nested = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


def test_a_spec_knows_its_model_and_number():
    assert (SPEC.name, SPEC.model, SPEC.number) == ("fraud-s2", "fraud", 2)


def test_a_file_reads_back(tmp_path):
    path = tmp_path / "specs" / "fraud-s2.yaml"
    write_spec(path, SPEC)
    assert read_spec(path) == SPEC
    assert read_spec(path).hash == SPEC.hash
    assert [item.name for item in path.parent.iterdir()] == ["fraud-s2.yaml"]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(), nested, max_size=5))
def test_any_values_read_back(values):
    spec = Spec.new(name="m-s1", objective="f1", learner="x", hyperparameters=values, reason=str(values))
    assert parse_spec(spec_text(spec)).model_dump() == spec.model_dump()
    assert parse_spec(spec_text(spec)).hash == spec.hash


def test_an_approval_leaves_the_hash_and_every_other_key_changes_it():
    approved = SPEC.approved(Approval(by="alice", at=datetime(2026, 1, 1, tzinfo=UTC)))
    assert approved.hash == SPEC.hash
    assert parse_spec(spec_text(approved)) == approved
    for key, value in [("learner", "lightgbm"), ("threshold", 0.5), ("seed", 1), ("reason", ""), ("features", ("V1",))]:
        assert SPEC.model_copy(update={key: value}).hash != SPEC.hash
    reordered = SPEC.model_copy(update={"hyperparameters": {"num_round": 150, "eta": 0.15, "max_depth": 7}})
    assert reordered.hash == SPEC.hash


def test_a_spec_without_calibration_is_what_it_was():
    assert SPEC.hash == "b2e35d434a3617189136044de1708fdd2c6f5b1117d86829e9238d9a497e73d5"
    assert "calibration" not in spec_text(SPEC)
    said = parse_spec(spec_text(SPEC) + "calibration: none\n")
    assert said == SPEC
    assert said.hash == SPEC.hash
    mapped = SPEC.model_copy(update={"calibration": "isotonic"})
    assert parse_spec(spec_text(mapped)) == mapped
    assert mapped.hash != SPEC.hash
    with pytest.raises(ConfigurationError, match=r"calibration: 'isotonik' is not one of .*did you mean 'isotonic'"):
        parse_spec(spec_text(mapped).replace("isotonic", "isotonik"))


def test_where_a_spec_came_from_is_part_of_what_is_approved_and_of_nothing_that_is_trained():
    source = Source(store="models:/FraudDetection@champion", version="2", modifier="ann")
    arrived = SPEC.model_copy(update={"source": source})
    assert parse_spec(spec_text(arrived)) == arrived
    assert "source" not in spec_text(SPEC)
    assert arrived.hash != SPEC.hash
    assert arrived.content == SPEC.content
    assert arrived.model_copy(update={"seed": 1}).content != SPEC.content
    assert spec_diff(SPEC, arrived) == {}


def test_a_name_is_a_model_and_a_number():
    with pytest.raises(ValueError, match="fraud-s0"):
        Spec.new(name="fraud-s0", objective="f1", learner="x")


def test_mistakes_have_lines():
    text = spec_text(SPEC).replace("learner:", "lerner:").replace("seed: 0", "seed: one")
    with pytest.raises(ConfigurationError) as caught:
        parse_spec(text, shown="specs/fraud-s2.yaml")
    lines = text.splitlines()
    found = {mistake.split(": ", 2)[1]: int(mistake.split(":")[1]) for mistake in caught.value.mistakes}
    assert lines[found["lerner"] - 1].startswith("lerner")
    assert lines[found["seed"] - 1].startswith("seed")
    assert "learner" in found


def test_a_file_must_be_called_as_its_spec(tmp_path):
    path = tmp_path / "fraud-s3.yaml"
    path.write_text(spec_text(SPEC))
    with pytest.raises(ConfigurationError, match="says it is fraud-s2"):
        read_spec(path)
    with pytest.raises(ValueError, match="not the file of"):
        write_spec(path, SPEC)
    with pytest.raises(ConfigurationError, match="no such file"):
        read_spec(tmp_path / "fraud-s9.yaml")


def test_the_text_is_the_same_each_time_and_explains_every_block():
    approved = SPEC.approved(Approval(by="alice", at=datetime(2026, 1, 1, tzinfo=UTC)))
    source = Source(store="ssm:/fraud-detection", version="r4", modifier="alice")
    whole = approved.model_copy(update={"calibration": "logistic", "quantiles": ("p10", "p90"), "source": source})
    text = spec_text(whole)
    assert text == spec_text(parse_spec(text)) == spec_text(whole.model_copy())
    blocks = text.split("\n\n")[1:]
    keys = [block.split(":\n")[0].splitlines()[-1].split(":")[0] for block in blocks]
    assert keys == [name for name in Spec.model_fields if name != "name"]
    for block in blocks:
        assert block.startswith("# ")
    assert max(map(len, text.splitlines())) <= 120


def test_comments_have_no_part_in_the_hash_and_a_spec_without_them_reads():
    text = spec_text(SPEC)
    bare = "\n".join(line for line in text.splitlines() if line and not line.startswith("#"))
    assert parse_spec(bare) == SPEC
    assert parse_spec("# mine\n" + bare).hash == parse_spec(text).hash == SPEC.hash
