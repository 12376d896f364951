"""Where a model's configuration lives: addresses that read back, and keys that a store has no use for."""

import pytest

from everloop.project import StoreAddress, parse_model, parse_store

ROWS = "data: {source: past.parquet, time: paid_at, target: fraud}\nobjective: f1\n"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("files", StoreAddress(kind="files")),
        ("ssm:/fraud-detection", StoreAddress(kind="ssm", name="/fraud-detection")),
        ("ssm:/team/fraud", StoreAddress(kind="ssm", name="/team/fraud")),
        (
            "models:/FraudDetection@champion",
            StoreAddress(kind="mlflow", name="FraudDetection", at="champion", alias=True),
        ),
        ("models:/FraudDetection/Production", StoreAddress(kind="mlflow", name="FraudDetection", at="Production")),
        ("models:/pay.fraud v2/3", StoreAddress(kind="mlflow", name="pay.fraud v2", at="3")),
        ("vault:/secret/fraud", StoreAddress(kind="vault", name="/secret/fraud")),
    ],
)
def test_an_address_reads_back(text, address):
    assert parse_store(text) == address
    assert str(address) == text
    assert parse_store(address) == address
    assert address.is_files == (text == "files")


@pytest.mark.parametrize(
    "text", ["", "file", "ssm:", "ssm:fraud", "ssm:/a b", "models:/F", "models:/F@a/b", "models:/F@", 3]
)
def test_what_is_no_address_is_refused_with_examples(text):
    with pytest.raises(ValueError, match=r"files, ssm:/fraud-detection|such as ssm:/|which version holds"):
        parse_store(text)


def read(text):
    return parse_model(ROWS + text, name="fraud")


def test_a_model_has_one_store_and_trusts_nobody_unless_it_says_so():
    model, _ = read("")
    assert (str(model.spec_store.store), model.approval.trust) == ("files", ())
    short, _ = read("specs: ssm:/fraud\n")
    long, _ = read("specs: {store: ssm:/fraud}\n")
    assert short.spec_store == long.spec_store
    model, _ = read(
        "specs: {store: ssm:/fraud, label: production, learner: xgboost, region: eu-west-1, secure: true}\n"
        "approval: {trust: [ssm, mlflow]}\n"
    )
    assert (model.spec_store.label, model.spec_store.region, model.spec_store.secure) == (
        "production",
        "eu-west-1",
        True,
    )
    assert model.approval.trust == ("ssm", "mlflow")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "specs: {store: files, label: production}",
            "specs.label: is of ssm:/…, and the specs are in files",
        ),
        (
            "specs: {store: models:/F@champion, secure: true}",
            "specs.secure: is of ssm:/…, and the specs are in models",
        ),
        ("specs: {learner: xgboost}", "specs.learner: a spec's file says its learner; remove it"),
        ("specs: {stor: files}", "specs.stor: unknown key; did you mean 'store'?"),
        ("specs: {store: ssm:/f, label: 9lives}", "specs.label: "),
        ("approval: {trust: [files]}", "approval.trust[0]: 'files' is not one of ssm, mlflow"),
    ],
)
def test_mistakes_are_said_with_their_place(text, sentence):
    model, mistakes = read(text + "\n")
    assert model is None
    assert any(sentence in mistake for mistake in mistakes), mistakes
