"""The API's description: valid, complete and true of what is answered; and its page, as a person opens it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from playwright.sync_api import sync_playwright

import everloop.serving
from everloop.data import Column, Contract, decode_rows
from everloop.serving.docs_page import docs_page
from everloop.serving.examples import example_outcome, example_row
from everloop.serving.openapi import Described, openapi
from everloop.serving.outcomes import read_outcomes
from tests.serving.place import CONTRACT

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="Debian's chromium is not installed"
)
HOSTILE = '</script><script>document.title="taken"</script>'
NUMBERS = Contract(
    columns=(
        Column(name="trip", type="string", role="id"),
        Column(name="hour", type="float", role="time"),
        Column(name="zone", type="string", role="entity"),
        Column(name="far", type="float", role="feature", observed=(0.1, 31.7)),
        Column(name="share", type="float", role="feature", minimum=0.0, maximum=0.25),
        Column(name="small", type="float", role="feature", maximum=-3.0),
        Column(name="count", type="int", role="feature", minimum=2.5, maximum=3.5),
        Column(name="paid", type="bool", role="feature"),
        Column(name="at", type="datetime", role="input"),
        Column(name="left", type="string", role="segment", categories=("north", "south")),
        Column(name="minutes", type="float", role="target", observed=(1.0, 90.0)),
        Column(name="note", type="string", role="outcome"),
        Column(name="never", type="string", role="ignored"),
    ),
    time_unit="h",
    time_origin="2024-01-01T00:00:00Z",
)


@pytest.fixture(scope="module")
def document(served):
    _, running = served
    return httpx.get(f"{running.url}/openapi.json").json()


def test_the_description_is_valid(document):
    OpenAPIV31SpecValidator(document).validate()
    described = Described(name="trips", contract=NUMBERS, version=1, decides=False, quantiles=("p10", "p50", "p90"))
    OpenAPIV31SpecValidator(json.loads(json.dumps(openapi([described])))).validate()


def test_every_answer_names_its_request_and_every_problem_is_described(document):
    for path, methods in document["paths"].items():
        for operation in methods.values():
            statuses = set(operation["responses"])
            assert {"200", "400", "405", "408", "431", "500"} <= statuses, path
            if path.startswith("/v1/models/"):
                assert {"404", "409", "413", "415", "422", "503", "507"} <= statuses
    problems = document["components"]["responses"].values()
    assert all("x-request-id" in one["headers"] and "application/problem+json" in one["content"] for one in problems)


def test_the_examples_of_the_description_are_answered(served, document):
    _, running = served
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method == "get":
                assert httpx.get(running.url + path.replace("{version}", "1")).status_code == 200
                continue
            if path.startswith("/v2"):
                (example,) = operation["requestBody"]["content"]["application/json"]["examples"].values()
                reply = httpx.post(running.url + path.replace("{version}", "1"), json=example["value"])
                assert reply.status_code == 200, reply.text
                continue
            for name, example in operation["requestBody"]["content"]["application/json"]["examples"].items():
                reply = httpx.post(running.url + path, json=example["value"])
                assert (reply.status_code, reply.json()["errors"]) == (200, []), (path, name)
                shown = operation["responses"]["200"]["content"]["application/json"]["example"]
                assert reply.json().keys() == shown.keys()


@pytest.mark.parametrize("contract", [CONTRACT, NUMBERS])
def test_an_example_keeps_its_contract(contract):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    row = example_row(contract)
    assert decode_rows(contract, [row], now=now)[1] == []
    assert set(row) >= {column.name for column in contract.columns if column.at_prediction and column.role != "time"}

    class Clock:
        def now(self):
            return now

    decides = contract.positive is not None
    told, wrong = read_outcomes(example_outcome(contract, decides=decides), contract, Clock(), decides=decides)
    assert (len(told), wrong) == (1, [])


def test_what_the_description_says_holds_whatever_is_sent(served, tmp_path: Path):
    """Schemathesis sends what the description allows and what it forbids, and holds every answer against it."""
    _, running = served
    hooks = Path(__file__).with_name("schemathesis_hooks.py")
    (tmp_path / "schemathesis.toml").write_text(f"hooks = {json.dumps(str(hooks))}\n")
    command = [sys.executable, "-W", "ignore", "-m", "schemathesis.cli", "run", f"{running.url}/openapi.json"]
    # what breaks a row is told in an answer of 200, which `bad_rows_are_told` asks for in its stead
    command += ["--exclude-checks", "negative_data_rejection", "--max-examples", "10", "--seed", "7"]
    # which tensors a model takes is told by its metadata: the protocol has no schema of them
    command += ["--exclude-path-regex", "/infer$", "--generation-deterministic", "--no-color"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout[-6_000:] + ended.stderr[-2_000:]


@pytest.fixture
def page():
    assert CHROMIUM is not None, "CI needs chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser.new_page(viewport={"width": 390, "height": 900})
        browser.close()


@needs_chromium
def test_trying_it_gets_an_answer_and_nothing_comes_from_elsewhere(served, page):
    _, running = served
    asked, mistakes = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    page.on("console", lambda message: mistakes.append(message.text))
    told = "Failed to load resource: the server responded with a status of 422 (Unprocessable Entity)"
    page.goto(f"{running.url}/docs")
    box = page.locator("#predict_fraud")
    box.locator(".send").click()
    box.locator(".reply .fine").wait_for()
    assert re.match(r"200 in \d+ ms, request [0-9a-f]{32}", box.locator(".reply p").inner_text())
    assert json.loads(box.locator(".reply pre").inner_text())["results"][0]["id"] == "example-1"
    box.locator("select").select_option(label="One row alone")
    body = json.loads(box.locator("textarea").input_value())
    box.locator("textarea").fill(json.dumps(body | {"amount": -1, "card_id": "it's"}))
    box.locator(".send").click()
    box.locator(".reply .bad").wait_for()
    assert box.locator(".reply p").inner_text().startswith("422")
    command = shlex.split(box.locator(".curl").inner_text())
    assert command[:2] == ["curl", running.predict]
    assert json.loads(command[-1]) == body | {"amount": -1, "card_id": "it's"}
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert mistakes == [told]
    assert {url.split("/", 3)[2] for url in asked} == {running.url.removeprefix("http://")}


@needs_chromium
def test_a_page_runs_nothing_that_a_name_or_category_brings(page):
    columns = (
        Column(name=HOSTILE, type="string", role="feature", categories=(HOSTILE, '"><img src=x onerror=alert(1)>')),
        Column(name="fraud", type="bool", role="target"),
    )
    described = Described(name="fraud", contract=Contract(columns=columns, positive=True), version=1, decides=True)
    made = docs_page(openapi([described]))
    headers = {name.decode(): value.decode() for name, value in made.headers}
    page.route("**/*", lambda route: route.fulfill(body=made.html, headers=headers, content_type="text/html"))
    page.goto("http://127.0.0.1:9/docs")
    assert page.title() == "everloop endpoint"
    assert page.locator("#predict_fraud td code").nth(1).inner_text() == HOSTILE
    assert json.loads(page.locator("#predict_fraud textarea").input_value())["rows"][0][HOSTILE] == HOSTILE
    assert page.locator("img").count() == 0


def test_the_command_of_the_page_is_answered(served):
    _, running = served
    html = httpx.get(f"{running.url}/docs").text
    assert len(html) < 60_000
    found = re.search(r'id="predict_fraud".*?<pre class="curl">(.*?)</pre>', html, re.DOTALL)
    command = shlex.split(unescape(found[1]))
    command[1] = running.url + command[1].removeprefix("http://127.0.0.1:8080")
    ended = subprocess.run([*command, "--silent", "--noproxy", "*"], capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout)["errors"] == []


def test_every_kind_of_problem_is_described_and_stands_in_the_docs(document):
    source = Path(everloop.serving.__file__).parent
    raised = {
        (status, kind)
        for path in source.glob("*.py")
        for status, kind in re.findall(r'Problem\(\s*(\d{3}),\s*"([a-z-]+)"', path.read_text())
    }
    described = {
        (str(one["content"]["application/problem+json"]["example"]["status"]), kind)
        for one in document["components"]["responses"].values()
        for kind in re.findall(r"[a-z-]+", one["description"].rsplit("(", 1)[1])
    }
    page = (source.parents[2] / "docs" / "http.md").read_text()
    written = {
        (status, kind)
        for status, kinds in re.findall(r"^\| (\d{3}) \| (.*) \|$", page, re.MULTILINE)
        for kind in re.findall(r"`([a-z-]+)`", kinds)
    }
    assert len(raised) > 15
    assert raised == described == written


def test_a_wide_contract_is_shown_in_time():
    columns = [Column(name=f"V{place}", type="float", role="feature", observed=(-2.5, 2.5)) for place in range(400)]
    contract = Contract(columns=(*columns, Column(name="Class", type="int", role="target")), positive=1)
    page = docs_page(openapi([Described(name="fraud", contract=contract, version=1, decides=True)]))
    assert page.html.count('<td class="what">Seen from -2.5 to 2.5.</td>') == 400
