"""What the results of a run say: spreads, ratios and missed aims."""

import pytest

from bench.cases import OURS, REFERENCE
from bench.limits import list_limits
from bench.results import Spread, describe_status
from tests.bench.factory import a_measurement, some_results


def test_spread_is_the_median_and_the_range() -> None:
    assert Spread.of([3, 1, 2]) == Spread(2, 1, 3)


def test_ratio_is_computed_within_each_round() -> None:
    results = some_results([])
    for number, (ours, reference) in enumerate([(100, 200), (400, 500), (90, 300)], 1):
        results.measurements.append(a_measurement("GET", OURS, ours, number))
        results.measurements.append(a_measurement("GET", REFERENCE, reference, number))
    assert results.ratio("GET", OURS) == Spread(0.5, 0.3, 0.8)


def test_broker_is_not_counted() -> None:
    assert a_measurement("GET", OURS, 100, gateway=20, broker=7).total_us == 120


def test_part_is_the_median_of_all_rounds() -> None:
    assert some_results([500, 300, 400]).part_us("GET", OURS) == {"postgres": 400, "broker": 50}


@pytest.mark.parametrize(
    ("measured", "wanted", "status"),
    [
        (0.4, 0.45, "met"),
        (0.45, 0.45, "met"),
        (0.54, 0.45, "missed by 20%"),
        (0.4501, 0.45, "missed by 1%"),
        (9, None, "-"),
    ],
)
def test_status_says_by_how_much_an_aim_is_missed(measured: float, wanted: float | None, status: str) -> None:
    assert describe_status(measured, wanted) == status


def test_limits_take_the_values_of_pulsetrack_only() -> None:
    limits = {limit.label: (limit.measured, limit.wanted) for limit in list_limits(some_results())}
    assert limits["event latency p99 at 20 creates/s"] == (24, 25)
    assert limits["event latency p99 at 300 creates/s"] == (500, 250)
    assert limits["PulseTrack, later start, until ready"] == (5, 2.5)
    assert limits["memory of patient when idle"] == (44, 45)
    assert len(limits) == 8
