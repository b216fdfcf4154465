"""Redocly (rules: recommended) and Spectral (rules: spectral:oas) find no fault in gen/openapi.json."""

import json

from tests.requests.tool import output, run

DOCUMENT = "gen/openapi.json"
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


def test_redocly_reports_no_error_and_no_warning() -> None:
    report = run("redocly", "lint", DOCUMENT, "--extends", "recommended", "--format", "json", **QUIET)
    found = json.loads(report.stdout)
    assert [(problem["ruleId"], problem["message"]) for problem in found["problems"]] == []
    assert found["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}


def test_spectral_reports_no_error_and_no_warning() -> None:
    printed = output(
        "spectral", "lint", DOCUMENT, "--ruleset", "tests/clients/spectral.yaml", "--fail-severity", "hint"
    )
    assert "No results with a severity of 'hint' or higher found!" in printed
