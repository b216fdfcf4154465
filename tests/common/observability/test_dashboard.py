"""The Grafana dashboard queries only metrics and labels that a running system exports."""

import json
import re
from collections.abc import Iterator

from tests.e2e.sessions import Session, a_patient
from tests.harness.otlp import Point, Receiver
from tests.harness.waiting import eventually
from tools.local.process import ROOT

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "pulsetrack.json").read_text(encoding="utf-8"))
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]

_UNITS = {"s": "_seconds", "By": "_bytes"}
_OF_EVERY_METRIC = {"job", "instance"}
"""The labels that the collector derives from the name of the service and of the process."""
_GROUPING = re.compile(r"\bby \(([^)]*)\)")
_SELECTOR = re.compile(r"([a-z_]+)(?:\{([^}]*)\})?(?:\[[^]]*\])?(?!\w|\s*\()")


def read_queries(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yields each metric of an expression, with the labels that select its series or group the result."""
    groups = {label.strip() for labels in _GROUPING.findall(expression) for label in labels.split(",")}
    rest = _GROUPING.sub("", re.sub(r'"[^"]*"', '""', expression))
    for metric, selector in _SELECTOR.findall(rest):
        yield metric, groups | set(re.findall(r"(\w+)=", selector))


def name_series(point: Point) -> Iterator[tuple[str, set[str]]]:
    """Yields the names and labels of a metric in Prometheus, as the collector's exporter writes them."""
    name = point.name.replace(".", "_") + _UNITS.get(point.unit, "")
    labels = {attribute.replace(".", "_") for attribute in point.attributes} | _OF_EVERY_METRIC
    if point.kind == "histogram":
        yield f"{name}_count", labels
        yield f"{name}_bucket", labels | {"le"}
    else:
        yield name + ("_total" if point.kind == "sum" else ""), labels


def test_expressions_query_exported_metrics_and_labels(receiver: Receiver, user: Session) -> None:
    user.post("/v1/patients", a_patient())
    queries = [query for expression in EXPRESSIONS for query in read_queries(expression)]

    def find_unknown() -> list[tuple[str, set[str]]]:
        exported: dict[str, set[str]] = {}
        for point in list(receiver.points):
            for name, labels in name_series(point):
                exported.setdefault(name, set()).update(labels)
        return [query for query in queries if not query[1] <= exported.get(query[0], {"missing"})]

    eventually(lambda: not find_unknown())
    assert len(queries) > len(EXPRESSIONS)


def test_panels_are_complete() -> None:
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(set(titles)) == len(titles)
    assert all(panel["targets"] and panel["fieldConfig"]["defaults"]["unit"] for panel in DASHBOARD["panels"])
    assert all(
        target["datasource"]["uid"] == "${datasource}" for panel in DASHBOARD["panels"] for target in panel["targets"]
    )
