"""What everloop.yaml says of the endpoint's callers: scopes, rates, sizes, TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from everloop.errors import ConfigurationError
from everloop.project import Project, Rate, Settings, parse_scopes
from everloop.project.size import Size


def settings_of(tmp_path: Path, text: str, **environment: str) -> Settings:
    (tmp_path / "everloop.yaml").write_text(text)
    return Project.open(tmp_path, environment=environment).settings


def test_scopes_are_repeated_or_have_commas_between_them() -> None:
    assert parse_scopes(["outcomes, predict", "predict"]) == ("predict", "outcomes")
    assert parse_scopes([]) == ()
    for wrong in (["predict,"], ["all"], ["predict outcomes"], [""], ["Predict"]):
        with pytest.raises(ValueError, match="the scopes are predict, outcomes, operate"):
            parse_scopes(wrong)


@pytest.mark.parametrize(("text", "per_s"), [("100/s", 100.0), (" 600 / min ", 10.0), ("36/h", 0.01), ("0.5/s", 0.5)])
def test_a_rate_is_so_many_in_such_a_time(text: str, per_s: float) -> None:
    rate = Rate.parse(text)
    assert rate.per_s == pytest.approx(per_s)
    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize("value", ["100", "0/s", "-1/s", "1e3/s", "100/d", "2000000/s", 100, None, True, "x" * 5000])
def test_what_is_no_rate(value: object) -> None:
    with pytest.raises(ValueError, match=r"is no rate|out of range") as refused:
        Rate.parse(value)
    assert len(str(refused.value)) < 120


@pytest.mark.parametrize(
    ("value", "count"), [("64MB", 64_000_000), ("64 kb", 64_000), ("1.5MiB", 1_572_864), (5_000, 5_000), ("7b", 7)]
)
def test_a_size_is_a_number_of_bytes(value: object, count: int) -> None:
    size = Size.parse(value)
    assert size.bytes == count
    assert Size.parse(str(size)) == size


@pytest.mark.parametrize("value", ["64 M", "x", "-1", True, None, "1e9", "", "MB"])
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="is no size"):
        Size.parse(value)


def test_what_the_project_says_of_its_endpoint(tmp_path: Path) -> None:
    plain = settings_of(tmp_path, "{}").endpoint
    assert (plain.keys, plain.rate, plain.tls.certificate, plain.max_body.bytes) == ("auto", None, None, 64_000_000)
    said = settings_of(
        tmp_path,
        "endpoint: {keys: required, rate: 50/s, max_body: 2MB, tls: {certificate: c.pem, key: k.pem}}",
        EVERLOOP_ENDPOINT__TLS__KEY="/run/k.pem",
    ).endpoint
    assert (said.keys, str(said.rate), said.max_body.bytes) == ("required", "50/s", 2_000_000)
    assert (said.tls.certificate, said.tls.key) == ("c.pem", "/run/k.pem")
    with pytest.raises(ConfigurationError) as refused:
        settings_of(tmp_path, "endpoint: {keys: yes please, rate: 5, max_body: 1GB, tls: {key: k.pem}}")
    told = str(refused.value)
    assert "endpoint.keys: 'yes please' is not one of auto, required, open" in told
    assert "endpoint.rate: '5' is no rate" in told
    assert "endpoint.max_body: 1GB is out of range (allowed: 1kB ≤ max_body ≤ 256MB)" in told
    assert "endpoint.tls: a key without its certificate" in told
