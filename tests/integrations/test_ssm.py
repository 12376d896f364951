"""SSM Parameter Store over HTTP: whole puts, values set by hand, labels, who wrote what, and a store that is down."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import httpx
import pytest

from everloop.errors import IntegrationError, NotFound, UsageError
from everloop.integrations.ssm import SsmSpecs
from everloop.integrations.ssm.connection import said
from everloop.integrations.ssm.parameters import Parameters
from everloop.production import SpecStore
from everloop.project import Model, Project, Spec, parse_model
from everloop.testing import SpecStoreSuite

from ..object_store import KEYS, aws

MODEL = "data: {source: past.parquet, time: paid_at, target: fraud}\nobjective: recall at precision >= 0.80\n"
ANN, BOB = "arn:aws:iam::123456789012:user/ann", "arn:aws:sts::123456789012:assumed-role/Training/bob"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with aws() as url:
        yield url


@pytest.fixture
def ssm(address: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A person's own client, and the variables that everloop's reads."""
    for name, value in {**KEYS, "aws_endpoint_url": address, "aws_default_region": "eu-west-1"}.items():
        monkeypatch.setenv(name.upper(), value)
    return boto3.client("ssm")


@pytest.fixture
def who(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Who writes from now on: AWS knows it by the credentials, the server of these tests says nothing."""
    from moto.ssm import models

    names: dict[tuple[str, int], str] = {}
    now = [ANN]
    described = models.Parameter.describe_response_object
    monkeypatch.setattr(
        models.Parameter,
        "describe_response_object",
        lambda self, *args, **options: (
            described(self, *args, **options)
            | {"LastModifiedUser": names.setdefault((self.name, self.version), now[0])}
        ),
    )
    begun = models.Parameter.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        begun(self, *args, **options)
        names[self.name, self.version] = now[0]

    monkeypatch.setattr(models.Parameter, "__init__", init)
    return lambda name: now.__setitem__(0, name)


PREFIXES = (f"/fraud-{at}" for at in itertools.count())


def a_model(prefix: str, *more: str) -> Model:
    specs = ", ".join([f"store: ssm:{prefix}", *more])
    model, mistakes = parse_model(f"{MODEL}specs: {{{specs}}}\n", name="fraud")
    assert model is not None, mistakes
    return model


KILLED = -2.0  # however new a put is that did not end; AWS tells its time to the second


def a_store(prefix: str, *more: str, abandoned_s: float = KILLED) -> SsmSpecs:
    project: Any = None  # of which this store needs nothing
    return SsmSpecs(project, a_model(prefix, *more), settling_s=0.0, abandoned_s=abandoned_s)


def a_spec(number: int = 1, /, **params: Any) -> Spec:
    said = {"name": f"fraud-s{number}", "objective": "recall at precision >= 0.80", "learner": "xgboost"}
    return Spec.new(**said, hyperparameters=params)


def put(client: Any, prefix: str, name: str, value: str, **options: Any) -> int:
    """A person's own put, as their notebook has it."""
    asked = {"Type": "String", **options}
    version: int = client.put_parameter(Name=f"{prefix}/{name}", Value=value, Overwrite=True, **asked)["Version"]
    return version


@pytest.mark.usefixtures("ssm", "who")
class TestSsmSpecs(SpecStoreSuite):
    """With a label, as production reads it."""

    puts = 6

    def store(self) -> SpecStore:
        return a_store(next(PREFIXES), "label: production")

    def again(self, store: SpecStore) -> SpecStore:
        return a_store(store.address.removeprefix("ssm:"), "label: production")


@pytest.mark.usefixtures("ssm", "who")
class TestSsmSpecsWithoutALabel(SpecStoreSuite):
    labels = False
    puts = 6

    def store(self) -> SpecStore:
        return a_store(next(PREFIXES))

    def again(self, store: SpecStore) -> SpecStore:
        return a_store(store.address.removeprefix("ssm:"))


def test_what_a_notebook_sets_by_hand_is_read_with_its_versions_and_who(ssm: Any, who: Callable[[str], None]) -> None:
    """The very calls of the notebook: one parameter each, no revision, names as XGBoost has them."""
    prefix = next(PREFIXES)
    put(ssm, prefix, "hyperparameters/max_depth", "6")
    put(ssm, prefix, "hyperparameters/max_depth", "7")
    who(BOB)
    put(ssm, prefix, "hyperparameters/eta", "0.15", Type="SecureString")
    put(ssm, prefix, "endpoint/password", "secret")
    found = a_store(prefix).get()
    assert dict(found.hyperparameters) == {"max_depth": 7, "eta": 0.15}
    assert (found.learner, found.spec, found.said) == (None, None, {})
    assert (found.version.split("-")[0], found.modifier) == ("h3", BOB)
    assert {name: (part.version, part.modifier) for name, part in found.parts.items()} == {
        "hyperparameters/max_depth": ("2", ANN),
        "hyperparameters/eta": ("1", BOB),
    }
    history = a_store(prefix).history()
    assert [dict(one.hyperparameters) for one in history] == [
        {"max_depth": 6},
        {"max_depth": 7},
        {"max_depth": 7, "eta": 0.15},
    ]
    assert a_store(prefix).get(history[0].version) == history[0]


def test_a_put_keeps_types_and_writes_what_changed_alone(ssm: Any) -> None:
    prefix = next(PREFIXES)
    put(ssm, prefix, "hyperparameters/max_depth", "7", Type="SecureString")
    store = a_store(prefix)
    store.put(a_spec(max_depth=7, subsample=0.8), actor="alice")
    store.put(a_spec(max_depth=8, subsample=0.8), actor="alice")
    pages = ssm.get_paginator("get_parameters_by_path").paginate(Path=prefix, Recursive=True, WithDecryption=True)
    now = {one["Name"].removeprefix(prefix): one for page in pages for one in page["Parameters"]}
    depth, subsample = now["/hyperparameters/max_depth"], now["/hyperparameters/subsample"]
    assert (depth["Type"], depth["Value"], depth["Version"]) == ("SecureString", "8", 2)
    assert (subsample["Type"], subsample["Value"], subsample["Version"]) == ("String", "0.8", 1)
    secret = next(PREFIXES)
    a_store(secret, "secure: true").put(a_spec(max_depth=7), actor="alice")
    assert ssm.get_parameter(Name=f"{secret}/hyperparameters/max_depth")["Parameter"]["Type"] == "SecureString"


class Killed(BaseException):
    pass


@pytest.mark.parametrize("writes", [1, 2, 4, 7, 8])
def test_a_put_that_is_killed_is_not_seen(ssm: Any, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """After each of its writes but the last a reader has what held before; the same put again ends it."""
    prefix = next(PREFIXES)
    a_store(prefix).put(a_spec(1, max_depth=3, subsample=0.8), actor="alice")
    before = a_store(prefix).get()
    real, count = Parameters.put, itertools.count(1)

    def deadly(self: Parameters, name: str, value: str, *, there: bool) -> int:
        version = real(self, name, value, there=there)
        if next(count) == writes:
            raise Killed
        return version

    after = a_spec(2, max_depth=4, subsample=0.9, gamma=0.5, reg_lambda=2.0, min_child_weight=3.0, max_bin=64)
    with monkeypatch.context() as patched:
        patched.setattr(Parameters, "put", deadly)
        try:
            a_store(prefix).put(after, actor="bob")
            whole = True
        except Killed:
            whole = writes == 8  # marker, six values, revision
    found = a_store(prefix).get()
    if whole:
        assert dict(found.hyperparameters) == dict(after.hyperparameters)
        return
    assert (found.version, dict(found.hyperparameters)) == (before.version, {"max_depth": 3, "subsample": 0.8})
    assert found.spec == "fraud-s1"
    a_store(prefix).put(after, actor="bob")
    assert dict(a_store(prefix).get().hyperparameters) == dict(after.hyperparameters)


def test_what_was_set_by_hand_holds_until_a_first_put_has_ended(ssm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = next(PREFIXES)
    put(ssm, prefix, "hyperparameters/max_depth", "7")
    before = a_store(prefix).get()
    real, count = Parameters.put, itertools.count(1)

    def deadly(self: Parameters, name: str, value: str, *, there: bool) -> int:
        if next(count) == 4:
            raise Killed
        return real(self, name, value, there=there)

    with monkeypatch.context() as patched:
        patched.setattr(Parameters, "put", deadly)
        with pytest.raises(Killed):
            a_store(prefix).put(a_spec(max_depth=5, gamma=1.0), actor="alice")
    assert a_store(prefix).get() == before


def test_a_hand_on_top_of_a_revision_is_seen_and_a_put_takes_over_again(ssm: Any, who: Callable[[str], None]) -> None:
    prefix = next(PREFIXES)
    store = a_store(prefix)
    revision = store.put(a_spec(max_depth=5, subsample=0.8), actor="alice")
    who(BOB)
    put(ssm, prefix, "hyperparameters/max_depth", "9")
    put(ssm, prefix, "hyperparameters/gamma", "1.5")
    found = a_store(prefix).get()
    assert found.version.startswith("h")
    assert (found.modifier, found.spec, found.learner) == (BOB, None, "xgboost")
    assert dict(found.hyperparameters) == {"max_depth": 9, "subsample": 0.8, "gamma": 1.5}
    assert dict(store.get(revision.version).hyperparameters) == {"max_depth": 5, "subsample": 0.8}
    again = store.put(a_spec(max_depth=5, subsample=0.8), actor="alice")
    assert again.version != revision.version
    assert dict(a_store(prefix).get().hyperparameters) == {"max_depth": 5, "subsample": 0.8}
    kinds = [one.version[0] for one in store.history()]
    assert kinds == ["r", "h", "h", "r"]


def test_labels_of_revisions_and_of_single_parameters(ssm: Any) -> None:
    prefix = next(PREFIXES)
    store = a_store(prefix, "label: production")
    with pytest.raises(NotFound, match=r"no version or label production; nobody put a revision there yet"):
        store.get()
    first, second = (put(ssm, prefix, "hyperparameters/max_depth", depth) for depth in ("3", "4"))
    ssm.label_parameter_version(
        Name=f"{prefix}/hyperparameters/max_depth", ParameterVersion=first, Labels=["production"]
    )
    assert second == first + 1
    assert dict(store.get().hyperparameters) == {"max_depth": 3}
    store.put(a_spec(max_depth=5), actor="alice", label="candidate")
    store.put(a_spec(max_depth=6), actor="alice")
    assert dict(store.get().hyperparameters) == {"max_depth": 6}
    assert dict(store.get("candidate").hyperparameters) == {"max_depth": 5}
    ssm.label_parameter_version(Name=f"{prefix}/revision", ParameterVersion=2, Labels=["production"])
    assert dict(store.get().hyperparameters) == {"max_depth": 5}, "a person promoted the candidate in AWS"
    with pytest.raises(UsageError, match="names no label, so that the newest revision holds"):
        a_store(prefix).put(a_spec(max_depth=7), actor="alice", label="candidate")
    with pytest.raises(UsageError, match="takes no label"):
        store.put(a_spec(max_depth=8), actor="alice", label="aws-candidate")


def test_a_value_of_a_revision_that_is_gone_is_said(ssm: Any) -> None:
    prefix = next(PREFIXES)
    store = a_store(prefix, "label: production")
    store.put(a_spec(max_depth=5, gamma=0.5), actor="alice")
    ssm.delete_parameter(Name=f"{prefix}/hyperparameters/gamma")
    with pytest.raises(IntegrationError, match=r"hyperparameters/gamma:1 is gone; 'everloop spec put NAME' writes it"):
        store.get()
    put(ssm, prefix, "revision", "v2")
    with pytest.raises(IntegrationError, match="is no manifest of everloop's"):
        a_store(prefix).get()


@pytest.mark.parametrize("name", ["revision", "hyperparameters/max_depth", "hyperparameters/gamma"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_two_puts_at_once_make_no_mixture(ssm: Any, monkeypatch: pytest.MonkeyPatch, name: str, when: str) -> None:
    """Wherever the second one falls into the first: who gives way says so, and a reader sees one of them, or before."""
    prefix = next(PREFIXES)
    a_store(prefix).put(a_spec(max_depth=1, gamma=0.1), actor="alice")
    real, begun, gave_way = Parameters.put, list[bool](), list[str]()

    def another() -> None:
        begun.append(True)
        try:
            a_store(prefix, abandoned_s=60.0).put(a_spec(max_depth=9, gamma=0.9), actor="bob")
        except IntegrationError as error:
            gave_way.append(str(error))

    def meanwhile(self: Parameters, what: str, value: str, *, there: bool) -> int:
        falls_here = what == name and not begun
        if falls_here and when == "before":
            another()
        version = real(self, what, value, there=there)
        if falls_here and when == "after":
            another()
        return version

    with monkeypatch.context() as patched:
        patched.setattr(Parameters, "put", meanwhile)
        try:
            a_store(prefix, abandoned_s=60.0).put(a_spec(max_depth=3, gamma=0.3), actor="alice")
        except IntegrationError as error:
            gave_way.append(str(error))
    assert begun
    assert len(gave_way) == 1
    assert "at the same time; put it again, or a minute later where that put was killed" in gave_way[0]
    found = dict(a_store(prefix).get().hyperparameters)
    assert found in ({"max_depth": 1, "gamma": 0.1}, {"max_depth": 3, "gamma": 0.3}, {"max_depth": 9, "gamma": 0.9})
    a_store(prefix).put(a_spec(max_depth=3, gamma=0.3), actor="alice")
    assert dict(a_store(prefix).get().hyperparameters) == {"max_depth": 3, "gamma": 0.3}


def test_more_than_ten_settings_and_a_long_list_of_features(ssm: Any) -> None:
    prefix = next(PREFIXES)
    params = {f"setting_{at:02d}": at / 7 for at in range(37)}
    features = tuple(f"a_column_with_a_long_name_{at}" for at in range(160))
    spec = a_spec(**params).model_copy(update={"features": features})
    found = a_store(prefix).put(spec, actor="alice")
    assert dict(found.hyperparameters) == params
    assert tuple(found.said["features"]) == features
    much = spec.model_copy(update={"features": tuple(f"{name}{'x' * 50}" for name in features)})
    with pytest.raises(UsageError, match=r"features would hold 1\d,\d+ bytes, and SSM takes 8,192"):
        a_store(prefix).put(much, actor="alice")


def test_a_store_that_is_down_is_one_sentence_and_no_default(
    address: str, ssm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = a_store(next(PREFIXES))
    for asked in (store.get, store.history, lambda: store.put(a_spec(max_depth=1), actor="alice")):
        with pytest.raises(IntegrationError, match=r"AWS SSM \(ssm:/fraud-\d+\) says: Could not connect"):
            asked()


@contextmanager
def throttled(address: str, times: int) -> Iterator[tuple[str, list[int]]]:
    """The same server, which says so often that it is asked too much before it answers."""
    answers: list[int] = []

    class Throttled(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            if len(answers) < times:
                body, status = b'{"__type": "ThrottlingException", "message": "Rate exceeded"}', 400
            else:
                passed_on = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                answered = httpx.post(address, content=asked, headers=passed_on)
                body, status = answered.content, answered.status_code
            answers.append(status)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Throttled)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", answers
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_store_that_is_asked_too_much_is_asked_again(address: str, ssm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = next(PREFIXES)
    a_store(prefix).put(a_spec(max_depth=5), actor="alice")
    with throttled(address, 2) as (url, answers):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert dict(a_store(prefix).get().hyperparameters) == {"max_depth": 5}
    assert answers[:3] == [400, 400, 200]
    with throttled(address, 99) as (url, answers):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(IntegrationError, match=r"ThrottlingException.*Rate exceeded"):
            a_store(prefix).get()
    assert len(answers) == 4


def test_every_error_of_the_library_is_translated() -> None:
    kinds = [kind for kind in vars(botocore.exceptions).values() if isinstance(kind, type)]
    mine = [kind for kind in kinds if issubclass(kind, Exception) and kind.__module__ == "botocore.exceptions"]
    theirs = [kind for kind in mine if not issubclass(kind, Warning)]
    assert len(theirs) > 50
    for kind in theirs:
        error = kind.__new__(kind)
        Exception.__init__(error, "no such thing")
        with pytest.raises(IntegrationError, match="AWS SSM"), said("ssm:/fraud"):
            raise error
    denied = botocore.exceptions.ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "Get")
    with pytest.raises(IntegrationError, match="give this user ssm:GetParameter"), said("ssm:/fraud"):
        raise denied
    with pytest.raises(KeyError), said("ssm:/fraud"):
        raise KeyError("a mistake of ours")


def test_it_is_found_by_entry_point_and_nothing_is_asked_before(tmp_path: Path) -> None:
    from everloop.production import open_store

    (tmp_path / "fraud").mkdir()
    (tmp_path / "everloop.yaml").write_text("{}\n")
    (tmp_path / "fraud" / "model.yaml").write_text(f"{MODEL}specs: ssm:/fraud-detection\n")
    project = Project.open(tmp_path, environment={})
    store = open_store(project, project.model())
    assert isinstance(store, SsmSpecs)
    assert store.address == "ssm:/fraud-detection"
    (tmp_path / "fraud" / "model.yaml").write_text(f"{MODEL}specs: vault:/fraud\n")
    project = Project.open(tmp_path, environment={})
    with pytest.raises(NotFound, match=r"vault:/fraud is of no store that is installed; there are files, mlflow"):
        open_store(project, project.model())


def test_the_manifest_is_json_that_people_can_read(ssm: Any) -> None:
    prefix = next(PREFIXES)
    a_store(prefix).put(a_spec(max_depth=5), actor="alice")
    manifest = json.loads(ssm.get_parameter(Name=f"{prefix}/revision")["Parameter"]["Value"])
    assert manifest["by"] == "alice"
    assert manifest["spec"] == "fraud-s1"
    assert manifest["values"]["hyperparameters/max_depth"] == 1
