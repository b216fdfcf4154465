"""The edge stack: the load balancer in front of the gateway."""

from collections.abc import Mapping
from typing import Protocol

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from constructs import Construct

from deploy.topology import GATEWAY_PORT
from infrastructure.network import BALANCER, PRIVATE, PUBLIC, Network
from infrastructure.settings import HTTPS_PORT, Domain, Environment
from infrastructure.stack import Stack, accept

_MINUTE = cdk.Duration.minutes(1)
_HTTP1, _GRPC = elb.ApplicationProtocolVersion.HTTP1, elb.ApplicationProtocolVersion.GRPC
_ANY_GRPC_CODE = "0-99"
"""The gateway is healthy if it responds. The services' health is checked by the gateway."""


class Balancer(Protocol):
    """A load balancer whose targets are the gateway's tasks."""

    dns_name: str

    def attach(self, gateway: ecs.FargateService) -> None:
        """Registers the tasks of a service as targets."""

    def count_healthy(self) -> cloudwatch.Metric:
        """Returns the number of healthy gateways."""


class Edge(Stack):
    """A public TLS listener on the domain. Without a domain, a listener without TLS in the private network."""

    def __init__(self, scope: Construct, environment: Environment, network: Network) -> None:
        super().__init__(scope, environment, "edge")
        domain = environment.domain
        self.balancer = _BALANCERS[environment.balancer](self, environment, network)
        url = f"https://{domain.name}" if domain else f"http://{self.balancer.dns_name}:{environment.port}"
        cdk.CfnOutput(self, "Url", value=url)


class NetworkBalancer:
    """A network load balancer, which preserves the client address."""

    def __init__(self, stack: Stack, environment: Environment, network: Network) -> None:
        domain = environment.domain
        self._balancer = elb.NetworkLoadBalancer(
            stack,
            "Balancer",
            vpc=network.vpc,
            vpc_subnets=PUBLIC if domain else PRIVATE,
            internet_facing=domain is not None,
            security_groups=[network.groups[BALANCER]],
            cross_zone_enabled=True,
            deletion_protection=environment.keep_data,
        )
        _accept_missing_access_log(self._balancer)
        self._group = elb.NetworkTargetGroup(
            stack,
            "Gateway",
            vpc=network.vpc,
            port=GATEWAY_PORT,
            protocol=elb.Protocol.TCP,
            target_type=elb.TargetType.IP,
            preserve_client_ip=True,  # the gateway limits rates per client address
            deregistration_delay=cdk.Duration.seconds(environment.drain_seconds),
            health_check=_build_health_check(),
        )
        if domain:
            self._add_tls_listener(stack, domain)
        else:
            self._balancer.add_listener("Listener", port=environment.port, default_target_groups=[self._group])
        self.dns_name = self._balancer.load_balancer_dns_name

    def attach(self, gateway: ecs.FargateService) -> None:
        """Registers the tasks of a service as targets."""
        gateway.attach_to_network_target_group(self._group)

    def count_healthy(self) -> cloudwatch.Metric:
        """Returns the number of healthy gateways."""
        return _count_healthy("AWS/NetworkELB", self._balancer.load_balancer_full_name, self._group)

    def _add_tls_listener(self, stack: Stack, domain: Domain) -> None:
        zone = route53.HostedZone.from_hosted_zone_attributes(
            stack, "Zone", hosted_zone_id=domain.zone_id, zone_name=domain.name.partition(".")[2]
        )
        validation = acm.CertificateValidation.from_dns(zone)
        certificate = acm.Certificate(stack, "Certificate", domain_name=domain.name, validation=validation)
        self._balancer.add_listener(
            "Listener",
            port=HTTPS_PORT,
            certificates=[certificate],
            ssl_policy=elb.SslPolicy.TLS13_RES,
            alpn_policy=elb.AlpnPolicy.HTTP2_PREFERRED,  # gRPC requires HTTP/2
            default_target_groups=[self._group],
        )
        alias = route53.RecordTarget.from_alias(targets.LoadBalancerTarget(self._balancer))
        route53.ARecord(stack, "Name", zone=zone, record_name=f"{domain.name}.", target=alias)


class ApplicationBalancer:
    """An application load balancer, which sends gRPC calls and HTTP/1.1 requests to two groups of the same targets."""

    def __init__(self, stack: Stack, environment: Environment, network: Network) -> None:
        self._balancer = elb.ApplicationLoadBalancer(
            stack,
            "Balancer",
            vpc=network.vpc,
            vpc_subnets=PRIVATE,
            security_group=network.groups[BALANCER],
            drop_invalid_header_fields=True,
            deletion_protection=environment.keep_data,
        )
        _accept_missing_access_log(self._balancer)
        self._group, self._grpc = (
            _add_http_group(
                stack,
                name,
                network,
                drain_seconds=environment.drain_seconds,
                version=version,
                health_check=health_check,
            )
            for name, version, health_check in (
                ("Gateway", _HTTP1, _build_health_check()),
                ("GatewayGrpc", _GRPC, elb.HealthCheck(healthy_grpc_codes=_ANY_GRPC_CODE)),
            )
        )
        listener = self._balancer.add_listener(
            "Listener",
            port=environment.port,
            protocol=elb.ApplicationProtocol.HTTP,
            default_target_groups=[self._group],
            open=False,
        )
        listener.add_target_groups(
            "Grpc",
            priority=1,
            conditions=[elb.ListenerCondition.http_header("content-type", ["application/grpc", "application/grpc+*"])],
            target_groups=[self._grpc],
        )
        self.dns_name = self._balancer.load_balancer_dns_name

    def attach(self, gateway: ecs.FargateService) -> None:
        """Registers the tasks of a service as targets."""
        gateway.attach_to_application_target_group(self._group)
        gateway.attach_to_application_target_group(self._grpc)

    def count_healthy(self) -> cloudwatch.Metric:
        """Returns the number of healthy gateways."""
        return _count_healthy("AWS/ApplicationELB", self._balancer.load_balancer_full_name, self._group)


_BALANCERS: Mapping[str, type[NetworkBalancer | ApplicationBalancer]] = {
    "network": NetworkBalancer,
    "application": ApplicationBalancer,
}


def _add_http_group(
    stack: Stack,
    name: str,
    network: Network,
    *,
    drain_seconds: int,
    version: elb.ApplicationProtocolVersion,
    health_check: elb.HealthCheck,
) -> elb.ApplicationTargetGroup:
    return elb.ApplicationTargetGroup(
        stack,
        name,
        vpc=network.vpc,
        port=GATEWAY_PORT,
        protocol=elb.ApplicationProtocol.HTTP,
        protocol_version=version,
        target_type=elb.TargetType.IP,
        deregistration_delay=cdk.Duration.seconds(drain_seconds),
        health_check=health_check,
    )


def _accept_missing_access_log(balancer: elb.BaseLoadBalancer) -> None:
    accept(
        balancer, "AwsSolutions::AwsSolutions-ELB2", "The gateway writes the access log, with the user of each call."
    )


def _build_health_check() -> elb.HealthCheck:
    return elb.HealthCheck(
        protocol=elb.Protocol.HTTP,
        path="/healthz",
        interval=cdk.Duration.seconds(10),
        timeout=cdk.Duration.seconds(5),
        healthy_threshold_count=2,
        unhealthy_threshold_count=2,
    )


def _count_healthy(
    namespace: str, balancer: str, group: elb.NetworkTargetGroup | elb.ApplicationTargetGroup
) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name="HealthyHostCount",
        dimensions_map={"LoadBalancer": balancer, "TargetGroup": group.target_group_full_name},
        statistic="Minimum",
        period=_MINUTE,
    )
