"""The templates of the edge stack."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.infrastructure.templates import Templates

_LISTENER = ("LoadBalancer", "Listener")


def test_public_load_balancer_has_tls(on_aws: "Templates") -> None:
    domain = on_aws.environment.domain
    assert domain
    [balancer], [listener] = (on_aws.properties(f"AWS::ElasticLoadBalancingV2::{kind}") for kind in _LISTENER)
    assert balancer["Scheme"] == "internet-facing"
    assert (listener["Protocol"], listener["Port"], listener["AlpnPolicy"]) == ("TLS", 443, ["HTTP2Preferred"])
    [certificate] = on_aws.properties("AWS::CertificateManager::Certificate")
    assert certificate["DomainName"] == domain.name


def test_load_balancer_without_a_domain_is_private(localstack: "Templates") -> None:
    [balancer], [listener] = (localstack.properties(f"AWS::ElasticLoadBalancingV2::{kind}") for kind in _LISTENER)
    assert balancer["Scheme"] == "internal"
    assert (listener["Protocol"], listener["Port"]) == ("HTTP", 4566)


def test_gateway_receives_the_client_address(on_aws: "Templates") -> None:
    [group] = on_aws.properties("AWS::ElasticLoadBalancingV2::TargetGroup")
    assert {"Key": "preserve_client_ip.enabled", "Value": "true"} in group["TargetGroupAttributes"]


def test_gateway_drains_longer_than_the_load_balancer_sends_connections(on_aws: "Templates") -> None:
    [group] = on_aws.properties("AWS::ElasticLoadBalancingV2::TargetGroup")
    attributes = {each["Key"]: each["Value"] for each in group["TargetGroupAttributes"]}
    assert 120 <= int(attributes["deregistration_delay.timeout_seconds"]) <= 180


def test_application_load_balancer_sends_grpc_as_grpc(localstack: "Templates") -> None:
    groups = localstack.resources("AWS::ElasticLoadBalancingV2::TargetGroup")
    [rule] = localstack.properties("AWS::ElasticLoadBalancingV2::ListenerRule")
    [action] = rule["Actions"]
    versions = {name: group["Properties"]["ProtocolVersion"] for name, group in groups.items()}
    assert sorted(versions.values()) == ["GRPC", "HTTP1"]
    assert versions[action["TargetGroupArn"]["Ref"]] == "GRPC"
    assert rule["Conditions"][0]["HttpHeaderConfig"]["HttpHeaderName"] == "content-type"
    [gateway] = [each for each in localstack.properties("AWS::ECS::Service") if each["ServiceName"] == "gateway"]
    assert len(gateway["LoadBalancers"]) == 2
