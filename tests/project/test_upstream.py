"""`upstream:` of a model.yaml: what is read, and every mistake at once with its line."""

from __future__ import annotations

from datetime import timedelta

from everloop.project import parse_model

HEAD = "data: {source: rows.parquet, time: t, target: y}\nobjective: f1\n"


def test_a_server_is_an_address_or_more() -> None:
    text = "upstream:\n  v1: http://models:8080/fraud/\n  2: {url: 'https://m', protocol: mlflow, timeout: 1s}\n"
    model, mistakes = parse_model(HEAD + text, name="fraud")
    assert mistakes == ()
    assert model is not None
    first, second = model.upstreams[1], model.upstreams[2]
    assert (first.url, first.protocol, first.timeout) == ("http://models:8080/fraud", "v2", timedelta(milliseconds=500))
    assert (second.url, second.protocol, second.timeout) == ("https://m", "mlflow", timedelta(seconds=1))
    plain, _ = parse_model(HEAD, name="fraud")
    assert plain is not None
    assert plain.upstreams == {}


def test_all_mistakes_are_told_at_once_with_their_lines() -> None:
    text = HEAD + (
        "upstream:\n"
        "  v1: models:8080\n"
        "  v2: {url: 'http://user:secret@m', timeout: 2m}\n"
        "  v3: {url: 'http://m', protocol: grpc}\n"
        "  v4: {url: 'http://m', tiemout: 1s}\n"
        "  v5: {protocol: mlflow}\n"
        "  v6: {url: 'https://m', token: eyJhbGciOiJIUzI1NiJ9}\n"
    )
    _, told = parse_model(text, name="fraud")
    assert next(line for line in told if "upstream.v1" in line).startswith("fraud/model.yaml:4: ")
    said = "\n".join(told)
    assert "'models:8080' is not an address, such as http://models.internal:8080" in said
    assert "m is asked without a user, a query or a fragment" in said
    assert "secret" not in said
    assert "2m is not a time to wait for an answer (1ms to 30s, such as 500ms)" in said
    assert "'grpc' is not one of v2, mlflow" in said
    assert "unknown key; did you mean 'timeout'?" in said
    assert "upstream.v5.url: is missing" in said
    assert "upstream.v6.token: is not the name of an environment variable, such as MODELS_TOKEN" in said
    assert "eyJ" not in said


def test_versions_are_told_apart_and_keys_are_of_their_protocol() -> None:
    text = HEAD + (
        "upstream:\n"
        "  v1: http://m\n"
        "  '1': http://m\n"
        "  newest: http://m\n"
        "  v2: {url: 'http://m', protocol: mlflow, tensor: x, columns: [a, a]}\n"
    )
    _, told = parse_model(text, name="fraud")
    said = "\n".join(told)
    assert "v1 stands twice, as v1 and as 1" in said
    assert "'newest' is not a version, such as v1" in said
    assert "upstream.v2.tensor: is of the protocol v2" in said
    assert "a column stands twice" in said
