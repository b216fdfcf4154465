"""The report and the plots of a run."""

import xml.etree.ElementTree as ET

import pytest

from bench.plots import plot_cpu, plot_latency
from bench.report import render_report
from tests.bench.factory import some_results

SVG = "{http://www.w3.org/2000/svg}"


def read_section(report: str, title: str) -> list[str]:
    """Returns the lines of a section without empty ones."""
    section = report.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line]


def test_table_of_ratios_comes_first() -> None:
    report = render_report(some_results(), [])
    first = report.index("\n## ")
    assert report[first:].startswith("\n## CPU time compared with the reference\n")
    table = read_section(report, "CPU time compared with the reference")
    assert (
        table[0] == "| call | ratio | wanted | status | PulseTrack | reference | ratio behind Envoy | ratio untuned |"
    )
    assert (
        table[2]
        == "| GET, REST | 0.45 (0.40-0.50) | <= 0.45 | met | 450 µs | 1,000 µs | 0.45 (0.40-0.50) | 0.45 (0.40-0.50) |"
    )


def test_missed_aim_says_by_how_much_and_where_the_time_goes() -> None:
    misses = read_section(render_report(some_results([540]), []), "Missed aims")
    assert misses[0].endswith("an empty grpc.aio call alone takes 300 µs. The largest parts of each call:")
    assert misses[1] == (
        "- **GET, REST**: 0.54 instead of 0.45, missed by 20%: 90 of 540 µs too many. Postgres 540 µs."
    )
    assert "- **event latency p99 at 300 creates/s**: 500.0 ms instead of 250 ms, missed by 100%." in misses


def test_range_of_a_single_round_is_omitted() -> None:
    table = read_section(render_report(some_results([400]), []), "CPU time compared with the reference")
    assert table[2].startswith("| GET, REST | 0.40 | ")


def test_same_results_give_the_same_report() -> None:
    plots = [("CPU time", "performance-cpu.svg")]
    assert render_report(some_results(), plots) == render_report(some_results(), plots)


@pytest.mark.parametrize("render", [plot_cpu, plot_latency])
def test_plot_has_a_bar_for_each_measured_call(render: type) -> None:
    image = ET.fromstring(render(some_results()))
    labels = [text.text for text in image.iter(f"{SVG}text")]
    assert labels.count("PulseTrack, REST") == labels.count("reference") == 6
    assert labels.count("PulseTrack, gRPC") == 3
