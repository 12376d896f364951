"""The dashboard and the rules: right by Prometheus's own tool, and of numbers that a live endpoint gives."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import httpx
import pytest
import yaml

from everloop.integrations.prometheus import FILES
from tests.promtool import promtool
from tests.serving.place import Place, endpoint, row, wait_until
from tests.serving.test_laws import shadow

SHIPPED = files("everloop.integrations.prometheus")
RULES = Path(__file__).parents[2] / "src/everloop/integrations/prometheus/rules.yml"
DASHBOARD = json.loads((SHIPPED / "dashboard.json").read_text())
NAME = re.compile(r"(?:[a-z_]+:)?(?:everloop|process)_[a-z_]+(?::[a-z0-9_]+)?")


@pytest.fixture(scope="module")
def exposed(tmp_path_factory) -> set[str]:
    """The names of all series of an endpoint that has answered, refused and failed."""
    place = Place.make(tmp_path_factory.mktemp("scraped"))
    place.deployed()
    shadow(place, place.version(bias=float("nan")))
    with endpoint(place.project.root) as running:
        reply = httpx.post(running.predict, json={"rows": [row(3), row(4, amount=-1)]})
        assert reply.status_code == 200
        assert httpx.post(running.predict, json=row(5, amount=-1)).status_code == 422
        found: set[str] = set()

        def told() -> bool:
            text = httpx.get(f"{running.url}/metrics").text
            found.update(re.findall(r"^(?:# TYPE )?([a-z_]+)", text, re.MULTILINE))
            return "everloop_spool_age_seconds" in found

        wait_until(told)
    return found


def recorded() -> set[str]:
    rules = yaml.safe_load(RULES.read_text())
    return {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}


def queries() -> list[str]:
    targets = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    notes = [note["expr"] for note in DASHBOARD["annotations"]["list"] if "expr" in note]
    return [*targets, *notes, *(one["definition"] for one in DASHBOARD["templating"]["list"] if "definition" in one)]


def test_every_series_that_is_asked_for_exists(exposed):
    rules = yaml.safe_load(RULES.read_text())
    asked = [*queries(), *(rule["expr"] for group in rules["groups"] for rule in group["rules"])]
    names = {name for text in asked for name in NAME.findall(text)}
    assert len(names) > 25
    assert names - exposed - recorded() == set()
    texts = " ".join(str(rule.get("annotations", "")) for group in rules["groups"] for rule in group["rules"])
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in exposed} | exposed
    assert set(re.findall(r"everloop_[a-z_]+", texts)) <= families


def test_the_rules_are_right_and_each_alert_fires_where_it_should():
    assert "SUCCESS" in promtool("check", "rules", str(RULES))
    tests = Path(__file__).parent / "prometheus_rules" / "rules_test.yml"
    assert "SUCCESS" in promtool("test", "rules", str(tests))
    rules = yaml.safe_load(RULES.read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    quiet, firing = (
        {one["alertname"] for one in part["alert_rule_test"]} for part in yaml.safe_load(tests.read_text())["tests"]
    )
    assert quiet == firing == alerts


def test_every_query_of_the_dashboard_can_be_parsed(tmp_path):
    rules = []
    for at, text in enumerate(query for query in queries() if not query.startswith("label_values(")):
        for variable, put in (("$__rate_interval", "5m"), ("$instance", ".*"), ("$model", ".*")):
            text = text.replace(variable, put)
        rules.append({"record": f"query:{at}", "expr": text})
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(tmp_path / "rules.yml"))


def test_the_dashboard_is_one_that_grafana_reads():
    """What Grafana's schema asks for, and what it would not tell: panels that overlap, a data source that is fixed."""
    assert (DASHBOARD["id"], DASHBOARD["uid"], DASHBOARD["title"]) == (None, "everloop-endpoint", "everloop endpoint")
    assert DASHBOARD["schemaVersion"] >= 39
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["type"] in ("timeseries", "stat", "heatmap")
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
    names = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert names == ["datasource", "instance", "model"]
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
    assert used - {"__all", "__rate_interval"} == set(names)


def test_the_files_are_copied_to_where_they_are_read(tmp_path):
    command = [sys.executable, "-m", "everloop.integrations.prometheus", str(tmp_path / "monitoring")]
    for _ in range(2):
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        assert ended.stdout.splitlines() == [str(tmp_path / "monitoring" / name) for name in FILES]
    assert json.loads((tmp_path / "monitoring" / "dashboard.json").read_text()) == DASHBOARD
    (tmp_path / "file").touch()
    ended = subprocess.run([*command[:-1], str(tmp_path / "file" / "in")], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "name another folder" in ended.stderr


def test_the_page_names_every_metric_and_every_alert(exposed):
    page = (Path(__file__).parents[2] / "docs" / "monitoring-endpoint.md").read_text()
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in exposed if name.startswith("everloop_")}
    assert set(re.findall(r"everloop_[a-z_]+", page)) - {"everloop_"} == families
    rules = yaml.safe_load(RULES.read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    assert set(re.findall(r"Everloop[A-Za-z]+", page)) == alerts
