"""A real project with real bundles, and the real endpoint as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import polars as pl
import psutil
from onnx import TensorProto, helper, numpy_helper

from everloop.actors import Actor, create_key, revoke_key
from everloop.bundle import EXTERNAL, BundleParts, BundleStore
from everloop.clock import SystemClock
from everloop.data import EVENT_TIME, Baseline, Column, Contract, FeatureTree
from everloop.ledger import Ledger, VersionRegistered
from everloop.project import Project, Rate, Scope
from everloop.rollout import deploy
from everloop.serving.rounds import Rounds
from everloop.traffic import Moved, Mover, TrafficLog

FOLDER = "payments"
CONTRACT = Contract(
    columns=(
        Column(name="payment_id", type="string", role="id"),
        Column(name="card_id", type="string", role="entity"),
        Column(name="paid_at", type="datetime", role="time"),
        Column(name="amount", type="float", role="feature", minimum=0.0),
        Column(name="visits", type="int", role="feature", nullable=True),
        Column(name="country", type="string", role="feature", categories=("AT", "BE", "CH"), nullable=True),
        Column(name="fraud", type="bool", role="target"),
    ),
    positive=True,
)
MODEL_YAML = """\
task: classification
data: {source: rows.parquet, time: paid_at, id: payment_id, entity: card_id, target: fraud}
outcome: {delay: 7d, absent: negative}
objective: average_precision
"""


def graph(weights: list[float], bias: float) -> bytes:
    """A logistic score that is the same alone and among others; what is missing counts as 0."""
    nodes = [
        *weighed("total"),
        helper.make_node("Add", ["total", "bias"], ["shifted"]),
        helper.make_node("Sigmoid", ["shifted"], ["score"]),
    ]
    return onnx_of(nodes, weights, bias=np.array([bias], np.float32))


def weighed(name: str) -> list[Any]:
    """Nodes that give the sum of weights × values; what is missing counts as 0."""
    return [
        helper.make_node("IsNaN", ["input"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "input"], ["filled"]),
        helper.make_node("Mul", ["filled", "weights"], ["product"]),
        helper.make_node("ReduceSum", ["product", "axis"], [name], keepdims=0),
    ]


def onnx_of(nodes: list[Any], weights: list[float], **constants: np.ndarray) -> bytes:
    """The graph of these nodes from `input` to `score`."""
    constants = {
        "zero": np.zeros(1, np.float32),
        "weights": np.array([weights], np.float32),
        "axis": np.array([1], np.int64),
        **constants,
    }
    made = helper.make_graph(
        nodes,
        "score",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, len(weights)])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def baseline() -> Baseline:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    times = [start + timedelta(hours=hour) for hour in range(96)]
    frame = pl.DataFrame({EVENT_TIME: times, "amount": [float(hour % 7) for hour in range(96)]})
    return Baseline.build(frame.with_columns(pl.col(EVENT_TIME).dt.cast_time_unit("us")), window=timedelta(days=1))


def parts_of(contract: Contract, onnx: bytes, **named: str) -> BundleParts:
    """A bundle of this graph. named: the model, its target, and what its decisions are called."""
    return BundleParts(
        graph=onnx,
        features=FeatureTree.of(contract),
        contract=contract,
        baseline=baseline(),
        threshold=0.5,
        metrics={"recall": 0.8},
        spec_hash="h",
        learner="logistic",
        **named,
    )


@dataclass
class Place:
    """A project and what is in it."""

    project: Project
    ledger: Ledger
    store: BundleStore

    @classmethod
    def make(cls, root: Path, *, more: str = "") -> Place:
        folder = root / FOLDER / "fraud"
        folder.mkdir(parents=True)
        (folder.parent / "everloop.yaml").write_text("endpoint: {max_rows: 2000}\n")
        (folder / "model.yaml").write_text(MODEL_YAML + more)
        project = Project.open(folder.parent)
        assert project.state.is_dir()
        return cls(
            project=project,
            ledger=Ledger.open(project, clock=SystemClock()),
            store=BundleStore(project.paths.bundles),
        )

    def bundle(self, *, bias: float = -2.0, contract: Contract = CONTRACT) -> str:
        width = len(FeatureTree.of(contract).names)
        weights = [0.02, -0.3, 0.5][:width] + [0.1] * (width - 3)
        named = {"model": "fraud", "target": "fraud", "positive": "fraud", "negative": "not_fraud"}
        return self.store.write(parts_of(contract, graph(weights, bias), **named))

    def version(self, *, bias: float = -2.0, contract: Contract = CONTRACT) -> int:
        payload = VersionRegistered(
            model="fraud", bundle=self.bundle(bias=bias, contract=contract), run="r-1", spec="fraud-s1", spec_hash="h"
        )
        version, _ = self.ledger.register_version("fraud", payload, actor="test")
        return version.number

    def key(self, *scopes: Scope, rate: str | None = None) -> str:
        """The text of a new key for the endpoint; without a scope it is one of a person."""
        limit = None if rate is None else Rate.parse(rate)
        actor = Actor.named("test")
        return create_key(self.ledger, "shop", by=actor, roles={}, scopes=scopes, rate=limit).secret

    def revoke(self, key: str) -> None:
        revoke_key(self.ledger, key.split("_")[-2], by=Actor.named("test"), roles={})

    def external(self, number: int, *, threshold: float | None = 0.5) -> int:
        """A version that something else serves."""
        parts = BundleParts(
            graph=None,
            features=FeatureTree.of(CONTRACT),
            contract=CONTRACT,
            baseline=baseline(),
            threshold=threshold,
            metrics={},
            spec_hash=EXTERNAL,
            model="fraud",
            learner=EXTERNAL,
            target="fraud",
            positive="fraud",
            negative="not_fraud",
        )
        payload = VersionRegistered(
            model="fraud",
            bundle=self.store.write(parts),
            run=EXTERNAL,
            spec=EXTERNAL,
            spec_hash=EXTERNAL,
            external=True,
        )
        version, _ = self.ledger.register_version("fraud", payload, actor="test", number=number)
        return version.number

    def deployed(self, *, bias: float = -2.0) -> int:
        number = self.version(bias=bias)
        deploy(self.ledger, "fraud", number, actor="alice", reason="test")
        return number


def row(number: int, **changes: Any) -> dict[str, Any]:
    made = {
        "payment_id": f"pay_{number}",
        "card_id": f"c{number % 97}",
        "paid_at": "2025-01-01T10:00:00Z",
        "amount": float(number % 300),
        "visits": number % 5,
        "country": ("AT", "BE", "CH", "XX", None)[number % 5],
    }
    return made | changes


@dataclass
class Endpoint:
    """A running endpoint."""

    process: subprocess.Popen[str]
    url: str
    log: Path

    @property
    def predict(self) -> str:
        return f"{self.url}/v1/models/fraud/predict"

    @property
    def outcomes(self) -> str:
        return f"{self.url}/v1/models/fraud/outcomes"

    @property
    def predictions(self) -> str:
        return f"{self.url}/v1/models/fraud/predictions"

    @property
    def decide(self) -> str:
        return f"{self.url}/v1/models/fraud/decide"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)

    def ready(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.url}/readyz").json())

    def serves(self, revision: int) -> bool:
        return bool(self.ready()["models"]["fraud"]["revision"] == revision)


@contextmanager
def endpoint(root: Path, *arguments: str, **environment: str) -> Iterator[Endpoint]:
    log = root / "endpoint.log"
    command = [sys.executable, "-m", "everloop.serving", "--project", str(root), "--port", "0", *arguments]
    with log.open("a") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **environment}
        )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url.startswith(("http://", "https://")), log.read_text()
        yield Endpoint(process=process, url=url, log=log)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(timeout=20)
        finally:
            process.stdout.close()


@contextmanager
def killed_as_it_starts(times: int) -> Iterator[list[int]]:
    """Kill so many endpoint processes of a supervisor that is begun in this context; gives their numbers."""
    killed: list[int] = []

    def kill() -> None:
        for one in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                starts = {"everloop.serving", "--parent"} <= set(one.cmdline())
                if starts and one.pid not in killed and len(killed) < times:
                    one.kill()
                    killed.append(one.pid)

    looks = Rounds(kill, name="killing", every_s=0.01)
    looks.start()
    try:
        yield killed
    finally:
        looks.stop()


def wait_until(condition: Callable[[], bool], *, within_s: float = 20.0) -> float:
    """Seconds until the condition holds; fails after `within_s`."""
    began, pause = time.monotonic(), threading.Event()
    while not condition():
        assert time.monotonic() - began < within_s, "it did not happen in time"
        pause.wait(0.02)
    return time.monotonic() - began


def logged(place: Place, *, like: str = "") -> pl.DataFrame:
    """The log after everything was moved; of the ids that begin so."""
    paths = place.project.paths
    with Mover.open(spool=paths.spool, traffic=paths.traffic, clock=SystemClock()) as mover:
        while mover.move_once() != Moved():
            pass
    log = TrafficLog(paths.traffic, "fraud")
    seen = log.predictions().collect()
    assert log.count()[0] == len(seen), "each row is in the log once"
    return seen.filter(pl.col("prediction_id").str.starts_with(like))
