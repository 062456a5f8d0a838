"""docs/monitoring: the rules do what they say, and speak of metrics that there are."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support.document import DOCS
from support.need import need

from relay.config.schema import Config
from relay.web.counters import Counters
from relay.web.metrics import Metrics, moment_of
from relay.web.observed import QueueCounts, Vitals

MONITORING = DOCS / "monitoring"
RULES, RULES_TEST = MONITORING / "alerts.yaml", MONITORING / "alerts.test.yaml"
PAGE = (DOCS / "monitoring.md").read_text()
DASHBOARD = json.loads((MONITORING / "grafana.json").read_text())
# What an exporter's name becomes; a sample of a counter has it already in the parser's hands.
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def families() -> Any:
    vitals = Vitals({}, {}, {}, {}, 0)
    page = Metrics(Counters(Config(hostname="relay.test"))).page(
        Config(hostname="relay.test"), moment_of(vitals, QueueCounts())
    )
    return list(text_string_to_metric_families(page.decode()))


def series() -> set[str]:
    """The names by which an expression can ask."""
    return {family.name + end for family in families() for end in _SUFFIXES[family.type]}


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


def expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def queries() -> Iterator[str]:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def asked_in(text: str) -> set[str]:
    return set(re.findall(r"\brelay_\w+", text))


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [need("promtool"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_rules_are_sound() -> None:
    done = promtool("check", "rules", "--lint-fatal", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_when_they_should_and_not_else() -> None:
    done = promtool("test", "rules", str(RULES_TEST))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_each_rule_is_tested_both_ways(rule: dict[str, Any]) -> None:
    cases = [
        case
        for test in yaml.safe_load(RULES_TEST.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == rule["alert"]
    ]
    assert {bool(case.get("exp_alerts")) for case in cases} == {True, False}


def test_the_rules_and_the_dashboard_ask_for_metrics_that_there_are() -> None:
    asked = asked_in(" ".join((*(rule["expr"] for rule in rules()), *expressions(), *queries())))
    assert asked <= series()


def test_the_dashboard_shows_every_metric() -> None:
    asked = asked_in(" ".join(expressions()))
    unseen = [
        family.name
        for family in families()
        if not asked.intersection(family.name + end for end in _SUFFIXES[family.type])
    ]
    assert unseen == []


def test_the_dashboards_expressions_are_promql(tmp_path: Path) -> None:
    texts = [text.replace("$__rate_interval", "5m") for text in expressions()]
    written = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(texts)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": written}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_whole() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) < 24
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"]))) - {
        "labels",
        "__rate_interval",
    }
    assert used <= variables


def test_the_page_explains_every_metric_and_alert() -> None:
    told = {
        family.name + _SUFFIXES[family.type][0].removesuffix("_bucket") for family in families()
    }
    missing = [name for name in told if f"| `{name}" not in PAGE]
    assert missing == []
    assert [rule["alert"] for rule in rules() if f"| `{rule['alert']}`" not in PAGE] == []
    known = series() | {family.name for family in families()}
    assert asked_in(PAGE) <= known
