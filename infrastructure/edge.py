"""The edge stack: a network load balancer, which preserves the client address."""

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from constructs import Construct

from deploy.topology import GATEWAY_PORT
from infrastructure.network import BALANCER, PRIVATE, PUBLIC, Network
from infrastructure.settings import HTTPS_PORT, Domain, Environment
from infrastructure.stack import Stack, accept

DRAIN_SECONDS = 30
"""The time that connections to a stopping gateway have to finish."""


class Edge(Stack):
    """A public TLS listener on the domain. Without a domain, a TCP listener in the private network."""

    def __init__(self, scope: Construct, environment: Environment, network: Network) -> None:
        super().__init__(scope, environment, "edge")
        domain = environment.domain
        self.balancer = elb.NetworkLoadBalancer(
            self,
            "Balancer",
            vpc=network.vpc,
            vpc_subnets=PUBLIC if domain else PRIVATE,
            internet_facing=domain is not None,
            security_groups=[network.groups[BALANCER]],
            cross_zone_enabled=True,
            deletion_protection=environment.keep_data,
        )
        accept(
            self.balancer,
            "AwsSolutions::AwsSolutions-ELB2",
            "The gateway writes the access log. The load balancer sees only connections.",
        )
        self.gateway = self._add_target_group(network)
        if domain:
            self._add_tls_listener(domain)
        else:
            self.balancer.add_listener("Listener", port=environment.port, default_target_groups=[self.gateway])
        url = (
            f"https://{domain.name}" if domain else f"http://{self.balancer.load_balancer_dns_name}:{environment.port}"
        )
        cdk.CfnOutput(self, "Url", value=url)

    def _add_tls_listener(self, domain: Domain) -> None:
        zone = route53.HostedZone.from_hosted_zone_attributes(
            self, "Zone", hosted_zone_id=domain.zone_id, zone_name=domain.name.partition(".")[2]
        )
        validation = acm.CertificateValidation.from_dns(zone)
        certificate = acm.Certificate(self, "Certificate", domain_name=domain.name, validation=validation)
        self.balancer.add_listener(
            "Listener",
            port=HTTPS_PORT,
            certificates=[certificate],
            ssl_policy=elb.SslPolicy.TLS13_RES,
            alpn_policy=elb.AlpnPolicy.HTTP2_PREFERRED,  # gRPC requires HTTP/2
            default_target_groups=[self.gateway],
        )
        alias = route53.RecordTarget.from_alias(targets.LoadBalancerTarget(self.balancer))
        route53.ARecord(self, "Name", zone=zone, record_name=f"{domain.name}.", target=alias)

    def _add_target_group(self, network: Network) -> elb.NetworkTargetGroup:
        return elb.NetworkTargetGroup(
            self,
            "Gateway",
            vpc=network.vpc,
            port=GATEWAY_PORT,
            protocol=elb.Protocol.TCP,
            target_type=elb.TargetType.IP,
            preserve_client_ip=True,  # the gateway limits rates per client address
            deregistration_delay=cdk.Duration.seconds(DRAIN_SECONDS),
            health_check=elb.HealthCheck(
                protocol=elb.Protocol.HTTP,
                path="/healthz",
                interval=cdk.Duration.seconds(10),
                timeout=cdk.Duration.seconds(5),
                healthy_threshold_count=2,
                unhealthy_threshold_count=2,
            ),
        )
