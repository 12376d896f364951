"""Who may call: by which key, for what, how often; and what an attacker sends in a key's place."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import openapi_spec_validator
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.actors import KeyState, key_states
from everloop.actors.secret import key_hash, new_secret
from everloop.clock import SystemClock
from everloop.errors import LedgerError, Refused
from everloop.ledger import Ledger
from everloop.project import SCOPES, Project, Rate, Scope
from everloop.serving import entrance_of
from everloop.serving.callers import Bucket, Callers, need_of
from everloop.serving.key_watch import KeyWatch
from everloop.serving.problem import Problem
from everloop.serving.server import bind
from tests.serving.place import Endpoint, Place, endpoint, row, wait_until


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """An endpoint that asks for keys, and keys: one by scope, one of a person, one that was revoked."""

    place: Place
    running: Endpoint
    keys: dict[str, str]
    client: httpx.Client

    def ask(self, path: str, key: str | None = None, **more: object) -> httpx.Response:
        """GET, or POST of a row where the path is one that takes it."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        if path.endswith("predict"):
            more = {"json": row(1)} | more
        if path.endswith("outcomes"):
            more = {"json": {"payment_id": "pay_1", "fraud": 1}} | more
        method = "POST" if more else "GET"
        return self.client.request(method, path, headers=headers, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    place = Place.make(tmp_path_factory.mktemp("guarded"))
    place.deployed()
    keys = {scope: place.key(scope) for scope in SCOPES}
    keys |= {"all": place.key(*SCOPES), "person": place.key(), "revoked": place.key(*SCOPES)}
    place.revoke(keys["revoked"])
    with (
        endpoint(place.project.root, EVERLOOP_ENDPOINT__KEYS="required") as running,
        httpx.Client(base_url=running.url) as client,
    ):
        yield Guarded(place=place, running=running, keys=keys, client=client)
    place.ledger.close()


PREDICT, OUTCOMES = "/v1/models/fraud/predict", "/v1/models/fraud/outcomes"
ALLOWED: dict[str, set[Scope]] = {
    PREDICT: {"predict"},
    OUTCOMES: {"outcomes"},
    "/v1/models": {"predict", "operate"},
    "/openapi.json": {"predict", "operate"},
    "/docs": {"predict", "operate"},
    "/metrics": {"operate"},
    "/nowhere": {"operate"},
}


@pytest.mark.parametrize("path", ALLOWED)
def test_a_scope_opens_what_it_says_and_nothing_else(guarded: Guarded, path: str) -> None:
    there = 404 if path == "/nowhere" else 200
    for scope in SCOPES:
        reply = guarded.ask(path, guarded.keys[scope])
        assert reply.status_code == (there if scope in ALLOWED[path] else 403), (scope, reply.text)
        if reply.status_code == 403:
            assert f"is for {scope}, and this asks for" in reply.json()["detail"]
    assert guarded.ask(path, guarded.keys["all"]).status_code == there
    for key in (None, guarded.keys["person"], guarded.keys["revoked"], new_secret("shop").text, "x"):
        refused = guarded.ask(path, key)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert refused.headers["content-type"] == "application/problem+json"


def test_a_browser_asks_for_a_key_and_opens_a_page_with_it(guarded: Guarded) -> None:
    page = {"accept": "text/html,application/xhtml+xml"}
    refused = guarded.client.get("/docs", headers=page)
    assert refused.status_code == 401
    assert refused.headers.get_list("www-authenticate") == [
        "Bearer", 'Basic realm="a key of everloop, as the password"'
    ]  # fmt: skip
    for path in ("/docs", "/openapi.json", "/v1/models"):
        assert guarded.client.get(path, headers=page, auth=("anybody", guarded.keys["predict"])).status_code == 200
    for path, auth, status in (
        ("/metrics", ("", guarded.keys["predict"]), 403),
        ("/docs", (guarded.keys["predict"], ""), 401),
        ("/docs", ("a", guarded.keys["revoked"]), 401),
        ("/docs", ("a", "x" * 5_000), 401),
    ):
        assert guarded.client.get(path, headers=page, auth=auth).status_code == status, (path, auth)
    assert guarded.client.get("/docs", headers={"authorization": "Basic ]["}).status_code == 401


def test_a_page_of_somebody_else_posts_nothing_with_a_key_that_the_browser_keeps(guarded: Guarded) -> None:
    refused = guarded.client.post(PREDICT, content=b"{}", auth=("a", guarded.keys["all"]))
    assert (refused.status_code, refused.json()["type"]) == (401, "urn:everloop:problem:key-malformed")


def test_who_only_looks_whether_it_lives_is_asked_for_nothing(guarded: Guarded) -> None:
    assert guarded.ask("/healthz").json() == {"status": "ok"}
    assert httpx.head(f"{guarded.running.url}/healthz").status_code == 200
    for key in (None, guarded.keys["predict"], "x"):
        assert guarded.ask("/readyz", key).json() == {"ready": True}
    assert guarded.ask("/readyz", guarded.keys["operate"]).json()["models"]["fraud"]["revision"] == 1


def test_what_is_wrong_with_a_key_is_not_told(guarded: Guarded) -> None:
    """One that never was, one that was revoked, one of a person, and one whose secret is another read the same."""
    known = guarded.keys["predict"]
    changed = known[:-1] + ("a" if known[-1] != "a" else "b")
    told = {
        guarded.ask(PREDICT, key).text
        for key in (new_secret("shop").text, guarded.keys["revoked"], guarded.keys["person"], changed, known[:-1], "x")
    }
    assert len(told) == 1


LANES = (b"accept: */*", b"content-encoding: identity")
"""Header lines: a small JSON body takes the fast lane, and one that says how it is encoded the other."""


def spoken(running: Endpoint, *lines: bytes) -> bytes:
    """The answer's first line and head, for a prediction with these header lines."""
    body = b'{"payment_id": "x"}'
    head = [b"POST " + PREDICT.encode() + b" HTTP/1.1", b"host: x", b"content-length: %d" % len(body)]
    request = b"\r\n".join([*head, *lines, b"connection: close", b"", body])
    with socket.create_connection(("127.0.0.1", int(running.url.rsplit(":", 1)[1])), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize("form", [
    b"authorization: Bearer %s", b"Authorization: bearer %s", b"AUTHORIZATION:BEARER   %s", b"x-api-key: %s",
    b"authorization: Bearer %s  ", b"X-API-Key:   %s  ", b"authorization: Basic x\r\nx-api-key: %s",
])  # fmt: skip
def test_the_ways_to_send_a_key(guarded: Guarded, form: bytes) -> None:
    for lane in LANES:
        answer = spoken(guarded.running, form.replace(b"%s", guarded.keys["predict"].encode()), lane)
        assert not answer.startswith((b"HTTP/1.1 401", b"HTTP/1.1 403"))
        assert answer.startswith(b"HTTP/1.1 4"), "the row itself has a mistake, which only who is let in is told"


@pytest.mark.parametrize("form", [
    b"authorization: %s", b"authorization: Bearer", b"authorization: Bearer ", b"authorization: Bearer: %s",
    b"authorization: Bearer\t%s", b'authorization: Bearer "%s"', b"authorization: Bearer %s,",
    b"authorization: Basic %s", b"authorization: Bearer Bearer %s", b"authorization: Bearer x %s",
    b"authorization: Bearer %s x",
    b"authorization: Bearer%s", b"authorization: Token %s", b"authorization: B\xc3\xa9arer %s",
    b"authorization: Bearer \xff\xfe%s", b"authorization: Bearer %s\xc2\xa0", b"authorization:",
    b"authorization: Bearer %s\r\nauthorization: Bearer %s", b"authorization: Bearer x\r\nauthorization: Bearer %s",
    b"x-api-key: %s\r\nx-api-key: %s", b"x-api-key: x\r\nauthorization: Bearer %s", b"x-api-key:", b"x_api_key: %s",
    b"api-key: %s", b"proxy-authorization: Bearer %s", b"cookie: authorization=Bearer %s", b"x: y",
    b"authorization: Bearer " + b"A" * 50_000, b"authorization: Bearer %s" + b"A" * 50_000,
    b"x-api-key: " + b"evl_shop_aaaaaaaa_" * 2_000,
])  # fmt: skip
def test_what_is_no_key_lets_nobody_in(guarded: Guarded, form: bytes) -> None:
    key = guarded.keys["predict"].encode()
    for lane in LANES:
        answer = spoken(guarded.running, form.replace(b"%s", key), lane)
        assert answer.startswith(b"HTTP/1.1 401 "), answer[:200]
        assert b"www-authenticate: Bearer" in answer
        assert key not in answer


@pytest.mark.parametrize("form", [
    b"authorization: Bearer %s\x00", b"authorization: Bearer %s\rx: y", b"authoriza tion: Bearer %s",
    b"authorization : Bearer %s", b"a: b\n authorization: Bearer %s", b"authorization: Bearer %s" + b"A" * 70_000,
])  # fmt: skip
def test_a_malformed_head_is_answered_by_no_part_of_it(guarded: Guarded, form: bytes) -> None:
    key = guarded.keys["predict"].encode()
    answer = spoken(guarded.running, form.replace(b"%s", key))
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 ", b"HTTP/1.1 431 ")), answer[:200]
    assert key not in answer


def test_a_key_in_an_address_is_no_key_and_is_not_repeated(guarded: Guarded) -> None:
    key = guarded.keys["all"]
    asked = guarded.ask(f"{PREDICT}?access_token={key}&api_key={key}", json=row(1))
    assert (asked.status_code, asked.json()["type"]) == (401, "urn:everloop:problem:key-needed")
    for path in (
        f"/{key}",
        f"/v1/models/{key}/predict",
        f"/v1/models/fraud/{key}",
        f"/healthz/{key.replace('_', '%5F')}",
    ):
        for shown in (None, guarded.keys["operate"]):
            reply = guarded.ask(path, shown)
            assert (reply.status_code, reply.json()["type"]) == (404, "urn:everloop:problem:key-in-address")
            assert key not in reply.text


def test_who_is_not_let_in_sends_what_they_like_and_the_connection_goes_on(guarded: Guarded) -> None:
    with httpx.Client(base_url=guarded.running.url) as client:
        assert client.post(PREDICT, content=b"x" * 3_000_000).status_code == 401
        reply = client.post(PREDICT, json=row(2), headers={"x-api-key": guarded.keys["predict"]})
        assert reply.status_code == 200
        assert client.post(PREDICT, json=row(2)).status_code == 401  # nor does a connection remember a key


def test_a_key_counts_soon_after_it_is_made_and_no_longer_soon_after_it_is_revoked(guarded: Guarded) -> None:
    key, other = guarded.place.key("predict"), guarded.keys["predict"]
    assert wait_until(lambda: guarded.ask(PREDICT, key).status_code == 200, within_s=10) < 2.0
    guarded.place.revoke(key)
    assert wait_until(lambda: guarded.ask(PREDICT, key).status_code == 401, within_s=10) < 2.0
    assert guarded.ask(PREDICT, other).status_code == 200


def test_a_key_that_used_up_its_rate_is_told_when_to_come_again(guarded: Guarded) -> None:
    key = guarded.place.key("predict", rate="2/h")
    wait_until(lambda: guarded.ask("/metrics", key).status_code == 403)  # it is known, and this costs it nothing
    assert guarded.ask(PREDICT, key).status_code == 200
    reply = guarded.ask(PREDICT, key)
    assert (reply.status_code, reply.json()["type"]) == (429, "urn:everloop:problem:too-many-requests")
    assert 1700 < int(reply.headers["retry-after"]) <= 1800
    # nor is it filled up by what else happens to keys
    another = guarded.place.key("predict")
    wait_until(lambda: guarded.ask(PREDICT, another).status_code == 200)
    assert guarded.ask(PREDICT, key).status_code == 429


def test_who_was_refused_is_counted_by_why(guarded: Guarded) -> None:
    guarded.ask(PREDICT)
    guarded.ask("/metrics", guarded.keys["predict"])
    text = guarded.ask("/metrics", guarded.keys["operate"]).text
    assert 'everloop_refused_total{problem="key-needed"}' in text
    assert 'everloop_refused_total{problem="scope"}' in text


def test_the_description_says_how_a_key_is_shown(guarded: Guarded) -> None:
    document = guarded.ask("/openapi.json", guarded.keys["predict"]).json()
    openapi_spec_validator.validate(document)
    assert {"bearer": []} in document["security"]
    assert document["paths"]["/healthz"]["get"]["security"] == []
    assert "security" not in document["paths"][PREDICT]["post"]
    assert {"401", "403", "429"} <= document["paths"][PREDICT]["post"]["responses"].keys()


# Where it listens.


def started(place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "everloop.serving",
        "--project",
        str(place.project.root),
        "--port",
        "0",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_where_other_machines_reach_it_a_key_is_asked_for(place: Place) -> None:
    place.deployed()
    place.key()  # of a person: it lets nobody in
    place.revoke(place.key("predict"))
    told = (
        "other machines reach HOST, and no key lets anyone in; make one with 'everloop key create --scope predict', or "
        "listen on 127.0.0.1, or say --insecure to answer whoever asks"
    )
    ended = started(place, "--host", "0.0.0.0")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "", told.replace("HOST", "0.0.0.0") + "\n")
    refused = pytest.raises(Refused, match=re.escape(told.replace("HOST", "::")))
    with bind("::", 0) as everywhere, refused, entrance_of(place.project, everywhere, workers=1):
        pass
    root = place.project.root
    each_its_own = httpx.Limits(max_keepalive_connections=0)
    with endpoint(root, "--host", "0.0.0.0", "--insecure") as running, httpx.Client() as client:
        url = running.url.replace("0.0.0.0", "127.0.0.1")
        assert client.post(f"{url}{PREDICT}", json=row(1), headers={"authorization": "Bearer x"}).status_code == 200
        assert "models" in client.get(f"{url}/readyz").json()
        assert "no key is asked for" in running.log.read_text()
    key, slow = place.key("predict"), place.key("predict", rate="4/h")
    with (
        endpoint(root, "--host", "0.0.0.0", "--workers", "2") as running,
        httpx.Client(limits=each_its_own) as client,  # so that both workers are asked
    ):
        url = running.url.replace("0.0.0.0", "127.0.0.1")

        def ask(*keys: str) -> httpx.Response:
            return client.post(f"{url}{PREDICT}", json=row(1), headers=[("x-api-key", one) for one in keys])

        assert {(ask().status_code, ask(key).status_code) for _ in range(8)} == {(401, 200)}
        replies = [ask(slow) for _ in range(3)]
        assert 1 <= sum(reply.status_code == 200 for reply in replies) <= 2  # one of each process
        waits_s = {int(reply.headers["retry-after"]) for reply in replies if reply.status_code == 429}
        assert all(1700 < wait_s <= 1800 for wait_s in waits_s), "each grants its share, two an hour"
        place.revoke(key)
        refused = wait_until(lambda: {ask(key).status_code for _ in range(8)} == {401}, within_s=10)
        assert refused < 2.0
    place.ledger.close()


def test_on_loopback_nobody_is_asked_unless_the_project_says_so(place: Place, served: tuple[Place, Endpoint]) -> None:
    _, running = served
    assert httpx.post(running.predict, json=row(1), headers={"authorization": "Bearer x"}).status_code == 200
    (place.project.root / "everloop.yaml").write_text("endpoint: {keys: required}\n")
    ended = started(place)
    assert ended.returncode == 3
    assert "callers must show a key (endpoint.keys: required), and no key lets anyone in" in ended.stderr
    place.ledger.close()


# The object that both ways of a request ask.


def state(*scopes: Scope, rate: str | None = None, live: bool = True) -> tuple[str, KeyState]:
    secret, at = new_secret("shop"), datetime(2026, 1, 1, tzinfo=UTC)
    made = KeyState(
        key=secret.key,
        name="shop",
        sha256=key_hash(secret),
        scopes=scopes,
        rate=None if rate is None else Rate.parse(rate),
        made_at=at,
        made_by="olga",
        first=False,
        revoked_at=None if live else at,
    )
    return secret.text, made


def bearer(text: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"authorization", b"Bearer " + text.encode())]


def test_who_is_admitted_is_known_by_id_and_name_and_never_by_secret() -> None:
    text, one = state("predict", "outcomes")
    callers = Callers(required=True)
    callers.know([one])
    caller = callers.admit(bearer(text), "outcomes")
    assert caller is not None
    assert (caller.key, caller.name, caller.scopes) == (one.key, "shop", ("predict", "outcomes"))
    assert key_hash(new_secret("x")) != one.sha256
    assert all(hidden not in repr(caller) for hidden in (text, text[-52:], one.sha256))
    assert callers.admit([], None) is None
    assert Callers(required=False).admit(bearer("x"), "operate") is None


def test_a_lane_that_only_asks_whether_takes_and_counts_as_the_other_does() -> None:
    refused: list[str] = []
    callers = Callers(required=True, refused=refused.append, now_s=lambda: 0.0)
    text, one = state("predict", rate="2/s")
    callers.know([one])
    assert [callers.admitted(bearer(text), "predict")[0] for _ in range(3)] == [True, True, False]
    assert not callers.admitted(bearer(text), "outcomes")[0]
    assert not callers.admitted([], "predict")[0]
    assert refused == [], "the lane that tells the problem counts it"
    with pytest.raises(Problem, match="used up its rate"):
        callers.admit(bearer(text), "predict")
    assert refused == ["too-many-requests"]
    assert callers.admitted([], None)[0]
    assert Callers(required=False).admitted([], "operate")[0]


def test_nothing_that_guesses_bring_is_kept() -> None:
    callers = Callers(required=True)
    text, one = state("predict")
    callers.know([one])
    before = {name: repr(value) for name, value in vars(callers).items()}
    for number in range(2_000):
        with pytest.raises(Problem):
            callers.admit(bearer(f"{text[:-5]}{number:05}"), "predict")
    assert {name: repr(value) for name, value in vars(callers).items()} == before


@given(
    st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60),
    st.sampled_from([0.2, 1.0, 2.5, 7.0]),
)
@settings(max_examples=60, deadline=None)
def test_a_bucket_never_gives_more_than_its_rate_and_what_it_holds(gaps: list[float], per_s: float) -> None:
    now_s, given_at = 0.0, []
    bucket = Bucket(per_s, now_s=0.0)
    for gap in gaps:
        now_s += gap
        wait_s = bucket.wait_s(now_s)
        if wait_s == 0.0:
            given_at.append(now_s)
        else:
            now_s += wait_s + 1e-9  # who comes again when told is served
            assert bucket.wait_s(now_s) == 0.0
            given_at.append(now_s)
    for first in range(len(given_at)):
        for last in range(first, len(given_at)):
            span_s = given_at[last] - given_at[first]
            assert last - first + 1 <= max(1.0, per_s) + per_s * span_s + 1e-6


def test_processes_share_a_rate_and_the_projects_holds_for_keys_without_one() -> None:
    now_s = 0.0
    callers = Callers(required=True, rate=Rate.parse("40/s"), processes=4, now_s=lambda: now_s)
    plain, one = state("predict")
    own, two = state("predict", rate="8/s")
    callers.know([one, two])

    def is_let_in(text: str) -> bool:
        with suppress(Problem):
            return callers.admit(bearer(text), "predict") is not None
        return False

    def granted(text: str) -> int:
        return sum(1 for _ in iter(lambda: is_let_in(text), False))

    assert (granted(plain), granted(own)) == (10, 2)
    now_s = 0.5
    assert (granted(plain), granted(own)) == (5, 1)
    callers.know([one, two])
    assert (granted(plain), granted(own)) == (0, 0)


@pytest.mark.parametrize(("method", "path", "need"), [
    ("GET", "/healthz", None), ("POST", "/healthz", None), ("GET", "/v2/health/ready", None),
    ("GET", "/readyz/", "operate"), ("GET", "/healthz/x", "operate"), ("HEAD", "/metrics", "operate"),
    ("GET", "/docs", "read"), ("GET", "/", "operate"), ("GET", "/v2/models/fraud", "read"),
    ("POST", "/v2/models/fraud/infer", "predict"), ("DELETE", "/v1/models", "predict"),
    ("POST", "/v1/models/fraud/decide", "predict"), ("PUT", "/v1/models/fraud/outcomes", "outcomes"),
    ("OPTIONS", "/metrics", "predict"),
])  # fmt: skip
def test_what_a_request_asks_for(method: str, path: str, need: str | None) -> None:
    assert need_of(method, path) == need


def test_a_ledger_that_cannot_be_read_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = Place.make(tmp_path)
    key, later = place.key("predict"), place.key("predict")
    file = place.project.paths.ledger_db
    place.ledger.close()
    callers = Callers(required=True)
    with Ledger.open(Project.open(place.project.root, environment={}), clock=SystemClock()) as ledger:
        watch = KeyWatch(ledger=ledger, callers=callers, every_s=0.01)
        watch.start()
        kept = file.with_suffix(".kept")
        file.rename(kept)
        wait_until(lambda: "keys cannot be read" in caplog.text)
        with pytest.raises(LedgerError):
            watch.look()
        assert callers.admit(bearer(key), "predict") is not None
        kept.rename(file)
        with Ledger.open(file, clock=SystemClock()) as other:
            place.ledger = other
            place.revoke(later)
            assert [one.live for one in key_states(other)] == [True, False]
        wait_until(lambda: not callers.shows(bearer(later), "predict"))
        assert callers.shows(bearer(key), "predict")
        assert caplog.text.count("keys cannot be read") == 1
        watch.stop()
