"""The text of a page is what prometheus-client itself would write of the same numbers."""

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import CollectorRegistry

from relay.web.counters import Histogram
from relay.web.families import Distribution, Family

ODD = 'a "b" \\ c d'


def written(family: object) -> str:
    registry = CollectorRegistry()
    registry.register(type("One", (), {"collect": lambda self: [family]})())  # type: ignore[arg-type]
    return generate_latest(registry).decode()


def test_counters_and_gauges() -> None:
    for kind in (CounterMetricFamily, GaugeMetricFamily):
        values = {("one", ODD): 1.0, ("", "2"): 0.25, ("one", "3"): 12345.0}
        family = Family(kind, "relay_x", "What it says.", ("a", "b"))
        for factor in (1, 2):
            theirs = kind("relay_x", "What it says.", labels=("a", "b"))
            for labels, value in values.items():
                theirs.add_metric(labels, value * factor)
            ours = family.text({labels: value * factor for labels, value in values.items()})
            assert ours == written(theirs)


def test_one_without_labels() -> None:
    family = Family(GaugeMetricFamily, "relay_x", "What it says.")
    assert family.one(7) == written(GaugeMetricFamily("relay_x", "What it says.", value=7))


def test_a_histogram() -> None:
    histogram, distribution = Histogram((0.1, 1.0)), Distribution("relay_x", "What it says.")
    buckets = [("0.1", 0.0), ("1.0", 0.0), ("+Inf", 0.0)]
    theirs = HistogramMetricFamily("relay_x", "What it says.", buckets=buckets, sum_value=0)
    assert distribution.text(histogram) == written(theirs)
    histogram.note(0.5, 3)
    buckets = [("0.1", 0.0), ("1.0", 3.0), ("+Inf", 3.0)]
    theirs = HistogramMetricFamily("relay_x", "What it says.", buckets=buckets, sum_value=1.5)
    assert distribution.text(histogram) == distribution.text(histogram) == written(theirs)


def test_names_that_come_and_go_are_forgotten() -> None:
    family = Family(GaugeMetricFamily, "relay_x", "What it says.", ("a",))
    for n in range(5_000):
        family.text({(str(n),): 1})
    assert len(family._begun) < 1_100
