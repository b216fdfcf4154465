"""Metrics, scaling and alarms."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.infrastructure.templates import Templates


def test_services_scale_by_outbox_age_and_consumer_lag(on_aws: "Templates") -> None:
    policies = on_aws.properties("AWS::ApplicationAutoScaling::ScalingPolicy")
    # A step policy would remove tasks that the CPU policy has added.
    tracked = [policy["TargetTrackingScalingPolicyConfiguration"] for policy in policies]
    delays = [each["CustomizedMetricSpecification"] for each in tracked if "CustomizedMetricSpecification" in each]
    assert {delay["MetricName"] for delay in delays} == {"OutboxAge", "SumOffsetLag"}


def test_own_metrics_are_log_filters(on_aws: "Templates") -> None:
    filters = on_aws.properties("AWS::Logs::MetricFilter")
    transformations = [each["MetricTransformations"][0] for each in filters]
    defined = {(each["MetricNamespace"], each["MetricName"]) for each in transformations}
    assert all(each["DefaultValue"] == 0 for each in transformations)
    assert {each["FilterPattern"] for each in filters} == {
        "{ $.outbox_age > 0 }",
        '{ $.level = "ERROR" }',
        '{ $.backup = "succeeded" }',
        "{ ($.status >= 500) || ($.grpc_status = 2) || ($.grpc_status = 13) || ($.grpc_status = 14) }",
    }
    alarms = on_aws.properties("AWS::CloudWatch::Alarm")
    used = {(each["Namespace"], each["MetricName"]) for each in alarms if each["Namespace"].startswith("PulseTrack")}
    assert used == defined


def test_alarms_are_sent_by_email(on_aws: "Templates") -> None:
    [topic] = on_aws.resources("AWS::SNS::Topic")
    [subscription] = on_aws.properties("AWS::SNS::Subscription")
    assert subscription["Endpoint"] == on_aws.environment.alarm_email
    for alarm in on_aws.properties("AWS::CloudWatch::Alarm"):
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": topic}]


def test_dashboard_shows_the_metrics_of_all_alarms(on_aws: "Templates") -> None:
    [dashboard] = on_aws.properties("AWS::CloudWatch::Dashboard")
    body = json.dumps(dashboard["DashboardBody"])
    for alarm in on_aws.properties("AWS::CloudWatch::Alarm"):
        assert alarm["MetricName"] in body


def test_every_alarm_is_documented(templates: "Templates") -> None:
    document = Path("docs/operations.md").read_text(encoding="utf-8")
    for alarm in templates.properties("AWS::CloudWatch::Alarm"):
        assert f"`{alarm['AlarmName'].rpartition('-')[2]}`" in document


@pytest.mark.parametrize("placeholder", ["domain", "alarm_email", "admin_email"])
def test_placeholder_is_not_deployed(tmp_path: Path, placeholder: str) -> None:
    import boto3

    from infrastructure.deployment import Choices, Deployment
    from infrastructure.environments.production import PRODUCTION
    from infrastructure.errors import DeployError
    from infrastructure.settings import Domain

    own: dict[str, Any] = {
        "domain": Domain(name="api.clinic.test", zone_id="Z"),
        "alarm_email": "operations@clinic.test",
        "admin_email": "admin@clinic.test",
    }
    del own[placeholder]
    choices = Choices(session=boto3.Session(region_name="us-east-1"))
    with pytest.raises(DeployError, match=r"pulsetrack\.example is a placeholder"):
        Deployment(replace(PRODUCTION, **own), choices, tmp_path, print).deploy()
