"""What an endpoint of two workers tells of itself: metrics of both, ids, traces, its access log."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import numpy as np
import psutil
import pytest

from everloop.serving.access_log import AccessLog
from everloop.serving.batcher import Ask, Batcher, Reply
from everloop.serving.counters import Counters, SlotRouting, VersionCounts, read_slot, read_slots, slot_path
from everloop.serving.exchange import Exchanges
from everloop.serving.histogram import Bins
from everloop.serving.metrics import metrics_text
from everloop.serving.requests import Requests
from everloop.serving.slots import is_living
from tests.promtool import promtool
from tests.serving.place import Endpoint, Place, endpoint, row, wait_until
from tests.serving.test_laws import shadow

MONOTONIC = ("_total", "_bucket", "_count")
TRACE = "0af7651916cd43dd8448eb211c80319c"
AT = datetime(2026, 1, 1, tzinfo=UTC)
SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'([a-z]+)="([^"]*)"')
# no connection is used twice, so that each request may reach either worker
CLIENT = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), timeout=30)


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """Two workers, a champion and a challenger that cannot score, some traffic, and an access log."""
    place = Place.make(tmp_path_factory.mktemp("observed"))
    (place.project.root / "everloop.yaml").write_text(
        "endpoint: {max_rows: 2000, workers: 2, access_log: logs/access.log}\n"
    )
    place.deployed()
    shadow(place, place.version(bias=float("nan")))
    with endpoint(place.project.root) as running:
        yield place, running


def asked(running: Endpoint, method: str, path: str, **options) -> httpx.Response:
    return CLIENT.request(method, running.url + path, **options)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """By name and labels; Prometheus's own tool is asked elsewhere whether it can read the text."""
    return {
        (name, tuple(sorted(LABEL.findall(labels)))): float(number) for name, labels, number in SAMPLE.findall(text)
    }


def scraped(running: Endpoint) -> dict:
    return samples(asked(running, "GET", "/metrics").text)


def settled(place: Place, running: Endpoint) -> dict:
    """A scrape that holds whatever either worker has done before: each writes its file once a second."""
    since = datetime.now(UTC)
    wait_until(lambda: all(record.at > since for record in read_slots(place.project.state)))
    return scraped(running)


def value(found: dict, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    return sum(
        number for (known, where), number in found.items() if known == name and labels.items() <= dict(where).items()
    )


def logged(place: Place) -> list[dict]:
    path = place.project.root / "logs" / "access.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def line_of(place: Place, request_id: str) -> dict:
    wait_until(lambda: any(one["request_id"] == request_id for one in logged(place)))
    return next(one for one in logged(place) if one["request_id"] == request_id)


def test_a_scrape_gives_the_numbers_of_all_workers(observed):
    place, running = observed
    before = settled(place, running)
    with ThreadPoolExecutor(8) as pool:
        bodies = [{"rows": [row(number, payment_id=f"all-{number}-{at}") for at in range(20)]} for number in range(40)]
        replies = list(pool.map(lambda body: asked(running, "POST", "/v1/models/fraud/predict", json=body), bodies))
    assert {reply.status_code for reply in replies} == {200}
    found = settled(place, running)
    counts = {one.slot: one.requests.get("fraud predict 200", 0) for one in read_slots(place.project.state)}
    scored = value(found, "everloop_scored_rows_total", version="1")
    assert scored == value(before, "everloop_scored_rows_total", version="1") + 800
    assert all(counts.values()), "both workers had their part"
    assert value(found, "everloop_requests_total", route="predict", model="fraud", status="200") == sum(counts.values())
    assert value(found, "everloop_request_duration_seconds_count", route="predict") == sum(counts.values())
    assert value(found, "everloop_batch_rows_sum") == value(found, "everloop_scored_rows_total", role="champion")
    assert value(found, "everloop_score_count", version="1") == value(found, "everloop_scored_rows_total", version="1")
    assert value(found, "everloop_unscored_rows_total", version="2", role="challenger") >= 800
    assert value(found, "everloop_scored_rows_total", version="2") == 0
    assert value(found, "everloop_workers") == 2
    assert value(found, "everloop_model_ready", model="fraud") == 1
    assert value(found, "everloop_live_version", version="2", role="challenger") == 1
    assert 0 <= value(found, "everloop_ledger_look_age_seconds") < 10
    for slot in ("0", "1"):
        assert value(found, "process_resident_memory_bytes", slot=slot) > 50e6


def test_prometheus_finds_no_fault_in_it(observed):
    place, running = observed
    asked(running, "POST", "/v1/models/fraud/predict", json={"rows": [row(1, amount=-1), row(2)]})
    asked(running, "GET", "/nothing")
    settled(place, running)
    texts: list[str] = []

    def counted() -> bool:  # each worker counts the spool by itself, once a second
        texts.append(asked(running, "GET", "/metrics").text)
        return value(samples(texts[-1]), "everloop_spool_rows") > 0

    wait_until(counted)
    assert promtool("check", "metrics", text=texts[-1]) == ""
    found = samples(texts[-1])
    assert value(found, "everloop_refused_rows_total", model="fraud", route="predict") >= 1
    assert value(found, "everloop_problems_total", kind="not-found", route="other", model="-") >= 1
    assert value(found, "everloop_spool_bytes") > value(found, "everloop_spool_rows")
    assert value(found, "everloop_spool_age_seconds") > 0


def test_every_answer_names_its_request(observed):
    _, running = observed
    given = "a/B.9:_-+=@~" + "x" * 116
    for method, path in [
        ("POST", "/v1/models/fraud/predict"),
        ("GET", "/healthz"),
        ("PUT", "/metrics"),
        ("GET", "/no"),
    ]:
        assert asked(running, method, path, headers={"x-request-id": given}).headers["x-request-id"] == given
    made = set()
    for bad in ("", "a b", "x" * 129, "<script>", "a,b", '"'):
        made.add(asked(running, "GET", "/healthz", headers={"x-request-id": bad}).headers["x-request-id"])
    assert len(made) == 6
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)


@pytest.mark.parametrize(
    ("sent", "status", "name"),
    [
        (b"this is no HTTP\r\n\r\n", 400, None),
        (b"GET / HTTP/1.1\r\nx-request-id: mine\r\nx: " + b"y" * 70_000, 431, b"mine"),
        (b"POST /v1/models/fraud/predict HTTP/1.1\r\nx-request-id: mine\r\nContent-Length: x\r\n\r\n", 400, b"mine"),
    ],
)
def test_what_is_no_request_is_named_and_counted_too(observed, sent, status, name):
    _, running = observed
    before = value(scraped(running), "everloop_requests_total", route="other", status=str(status))
    with socket.create_connection(("127.0.0.1", int(running.url.rsplit(":", 1)[1])), timeout=10) as connection:
        connection.sendall(sent)
        head = connection.makefile("rb").read().split(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"http/1.1 %d " % status)
    found = re.search(rb"x-request-id: (\S+)", head)
    assert found is not None
    assert found[1] == name if name else len(found[1]) == 32
    wait_until(
        lambda: value(scraped(running), "everloop_requests_total", route="other", status=str(status)) == before + 1
    )


def test_a_line_says_who_asked_for_what_and_nothing_of_what_was_in_it(observed):
    place, running = observed
    headers = {
        "x-request-id": "line-1",
        "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
        "authorization": "Bearer top",
    }
    body = {"rows": [row(7, payment_id="secret-id", country="ZZ"), row(8, amount=-1)]}
    sent = json.dumps(body).encode()
    reply = asked(running, "POST", "/v1/models/fraud/predict?key=secret-query", content=sent, headers=headers)
    line = line_of(place, "line-1")
    assert line["duration_ms"] > 0
    assert re.fullmatch("[0-9a-f]{16}", line["span_id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["at"])
    assert {name: line[name] for name in line.keys() - {"at", "duration_ms", "span_id"}} == {
        "request_id": "line-1", "trace_id": TRACE, "parent_id": "b7ad6b7169203331", "method": "POST",
        "route": "predict", "model": "fraud", "status": 200, "problem": None, "rows": 2, "request_bytes": len(sent),
        "reply_bytes": len(reply.content), "client": "127.0.0.1", "caller": None,
    }  # fmt: skip
    text = (place.project.root / "logs" / "access.log").read_text()
    assert not re.search("secret|Bearer|top|ZZ|card_id|pay_7", text)


def test_both_lanes_name_count_and_log_what_they_answer(observed):
    """Chunks take a request through ASGI, and a length past it."""
    place, running = observed
    before = settled(place, running)
    body = json.dumps(row(90_001)).encode()
    for request_id, sent in (("fast-lane", body), ("other-lane", iter([body]))):
        headers = {"x-request-id": request_id, "content-type": "application/json"}
        reply = asked(running, "POST", "/v1/models/fraud/predict", content=sent, headers=headers)
        assert (reply.status_code, reply.headers["x-request-id"]) == (200, request_id)
    one, other = line_of(place, "fast-lane"), line_of(place, "other-lane")
    alike = {
        "route",
        "model",
        "status",
        "problem",
        "rows",
        "request_bytes",
        "reply_bytes",
        "client",
        "caller",
        "method",
    }
    assert {name: one[name] for name in alike} == {name: other[name] for name in alike}
    assert (one["rows"], one["request_bytes"], one["route"]) == (1, len(body), "predict")
    told = {"route": "predict", "model": "fraud", "status": "200"}
    counted = value(settled(place, running), "everloop_requests_total", **told)
    assert counted == value(before, "everloop_requests_total", **told) + 2


def test_nobody_writes_into_a_line_what_is_not_theirs(observed):
    place, running = observed
    path = "/v1/models/%22%7D%0A%7B%22request_id%22:%22forged%22%7D/predict"
    assert asked(running, "POST", path, json={}, headers={"x-request-id": "hostile-1"}).status_code == 404
    line = line_of(place, "hostile-1")
    assert (line["model"], line["problem"]) == (None, "unknown-model")
    assert "forged" not in (place.project.root / "logs" / "access.log").read_text()


def test_a_log_that_was_moved_away_is_begun_anew(observed):
    place, running = observed
    path = place.project.root / "logs" / "access.log"
    path.rename(path.with_name("access.log.1"))

    def told() -> bool:
        asked(running, "GET", "/healthz", headers={"x-request-id": "after-it-was-moved"})
        return any(one["request_id"] == "after-it-was-moved" for one in logged(place))

    wait_until(told)


def test_counters_never_go_back_though_a_worker_is_killed(observed):
    """Whichever worker is asked, and though one dies with what it counted since it last wrote."""
    _, running = observed
    done = threading.Event()

    def ask() -> int:
        good = 0
        while not done.is_set():
            try:
                good += asked(running, "POST", "/v1/models/fraud/predict", json=row(good)).status_code in (200, 409)
            except httpx.TransportError:  # what the killed one had in hand
                continue
        return good

    def kept_on(scrapes: int) -> dict:
        before = scraped(running)
        for _ in range(scrapes):
            try:
                now = scraped(running)
            except httpx.TransportError:
                continue
            backwards = [
                key for key, was in before.items()
                if key[0].endswith(MONOTONIC) and not key[0].startswith("process_") and now.get(key, -1.0) < was
            ]  # fmt: skip
            assert backwards == []
            before = now
        return before

    supervisor = psutil.Process(running.process.pid)
    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        try:
            kept_on(15)
            first = supervisor.children()[0]
            first.kill()
            kept_on(10)
            wait_until(lambda: len([one for one in supervisor.children() if one.pid != first.pid]) == 2)
            found = kept_on(5)
        finally:
            done.set()
        assert all(one.result() for one in asking)
    wait_until(lambda: value(scraped(running), "everloop_workers") == 2)
    assert value(found, "everloop_requests_total", route="predict") > 0


def test_a_file_of_earlier_is_read_and_its_counts_go_on(tmp_path):
    path = slot_path(tmp_path, 0)
    third = {"rows": 5, "answered": 5, "errors": 0, "decisions": 1, "latency": [0] * 21 + [5]}
    written = {"slot": 0, "pid": 1, "at": "2026-01-01T00:00:00Z", "batches": {"fraud": [1, 2]}}
    written |= {"requests": {"fraud predict 200": 7}, "versions": {"fraud": {"3": third}}}
    path.write_text(json.dumps(written))
    before = read_slot(path)
    assert before is not None
    assert not is_living(before)
    counters, requests = Counters(before), Requests(before)
    counters.scored("fraud", 3, role="champion", rows=2, errors=0, decisions=0, answered=2, took_s=0.5)
    requests.answered("predict", "fraud", Reply(status=200, body=b""), took_s=0.1)
    record = counters.record(slot=0, at=before.at, routing={}, requests=requests)
    assert record.requests == {"fraud predict 200": 8}
    assert {key: found.rows for key, found in record.versions["fraud"].items()} == {"3": 5, "3 champion": 2}
    assert record.versions["fraud"]["3 champion"] + VersionCounts() == VersionCounts(
        rows=2, answered=2, latency=record.versions["fraud"]["3 champion"].latency, took_s=1.0
    )


def test_old_versions_are_shown_no_more_unless_they_answer():
    counters = Counters()
    for version in range(1, 31):
        counters.scored("fraud", version, rows=1, errors=0, decisions=0, answered=1, took_s=0.001)
    routing = {"fraud": SlotRouting(revision=9, champion=4, wanted=9)}
    record = counters.record(slot=0, at=AT, routing=routing)
    text = metrics_text([record], [record], pending=None, now_us=0)[0].decode()
    shown = set(re.findall(r'everloop_scored_rows_total\{model="fraud",role="champion",version="(\d+)"\}', text))
    assert shown == {"4", "26", "27", "28", "29", "30"}
    assert "everloop_spool_rows" not in text


def test_scores_of_different_edges_are_not_added_up():
    new, old = Counters(), Counters()
    new.scored("fraud", 1, rows=2, errors=0, decisions=0, answered=2, took_s=0.001)
    new.scores("fraud", 1, np.array([0.2, 0.9]), edges=(0.5, 1.0))
    old.scores("fraud", 1, np.array([0.2]), edges=(0.5,))
    records = [new.record(slot=0, at=AT, routing={}), old.record(slot=1, at=AT.replace(year=2020), routing={})]
    text = metrics_text(records, [], pending=None, now_us=0)[0].decode()
    assert 'everloop_score_count{model="fraud",version="1"} 2.0' in text


def test_what_waits_is_told():
    async def waited() -> tuple[tuple[int, int], tuple[int, int]]:
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(lambda asks: [Reply(status=200, body=b"") for _ in asks], executor)
            asks = [Ask(model="fraud", kind="predict", body=b"x" * 10) for _ in range(3)]
            for ask in asks:
                batcher.submit(ask, lambda reply: None)
            during = batcher.waiting
            await batcher.answer(asks[0])
            return during, batcher.waiting

    assert asyncio.run(waited()) == ((3, 30), (0, 0))


def test_lines_that_find_no_room_or_no_reader_are_counted():
    held, go_on, written = threading.Event(), threading.Event(), []

    def slow(lines: bytes) -> None:
        held.set()
        go_on.wait(10)
        written.append(lines)
        raise OSError("nobody reads")

    log = AccessLog(slow, most_lines=3, every_s=0.01)
    exchanges = Exchanges(Requests(), models=lambda: {"fraud"}, log=log)

    def one() -> None:
        exchange = exchanges.begin("GET", [])
        exchanges.end(exchange, Reply(status=200, body=b""))

    log.start()
    one()
    assert held.wait(10)
    for _ in range(5):
        one()
    assert log.lost == 2
    go_on.set()
    log.stop()
    assert log.lost == 6
    assert sum(lines.count(b"\n") for lines in written) == 4


def test_requests_are_counted_as_they_are_answered():
    requests = Requests()
    exchanges = Exchanges(requests, models=lambda: {"fraud"}, timer=iter([0.0, 0.004, 1.0, 1.25]).__next__)
    for model, reply in (
        ("fraud", Reply(status=200, body=b"", rows=9, refused=4)),
        ("another", Reply(status=404, body=b"", problem="unknown-model")),
    ):
        exchange = exchanges.begin("POST", [(b"x-request-id", b"mine")])
        exchange.route, exchange.model = "predict", model
        assert exchange.reply_header == (b"x-request-id", b"mine")
        exchanges.end(exchange, reply)
    assert requests.statuses() == {"fraud predict 200": 1, "- predict 404": 1}
    assert requests.problems() == {"- predict unknown-model": 1}
    assert requests.refused_rows() == {"fraud predict": 4}
    assert {key: found.total for key, found in requests.durations().items()} == {
        "fraud predict": pytest.approx(0.004), "- predict": pytest.approx(0.25),
    }  # fmt: skip
    assert isinstance(requests.durations()["fraud predict"], Bins)
