"""The door: a network load balancer, which hands connections to the gateway with the client's own address."""

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from constructs import Construct

from infrastructure.network import DOOR, PRIVATE, PUBLIC, Network
from infrastructure.settings import GATEWAY_PORT, HTTPS_PORT, Domain, Environment
from infrastructure.stack import Stack, accept

DRAIN_SECONDS = 30
"""How long connections to a gateway that is to stop may go on."""


class Edge(Stack):
    """TLS on the domain's name, open to the internet; without a domain TCP, open to the private network."""

    def __init__(self, scope: Construct, environment: Environment, network: Network) -> None:
        super().__init__(scope, environment, "edge")
        domain = environment.domain
        self.balancer = elb.NetworkLoadBalancer(
            self,
            "Balancer",
            vpc=network.vpc,
            vpc_subnets=PUBLIC if domain else PRIVATE,
            internet_facing=domain is not None,
            security_groups=[network.groups[DOOR]],
            cross_zone_enabled=True,
            deletion_protection=environment.keep_data,
        )
        accept(
            self.balancer,
            "AwsSolutions::AwsSolutions-ELB2",
            "The gateway writes the access log: it sees calls, and the balancer connections alone.",
        )
        self.gateway = self._gateway(network)
        if domain:
            self._listen_as(domain)
        else:
            self.balancer.add_listener("Listener", port=environment.port, default_target_groups=[self.gateway])
        url = (
            f"https://{domain.name}" if domain else f"http://{self.balancer.load_balancer_dns_name}:{environment.port}"
        )
        cdk.CfnOutput(self, "Url", value=url)

    def _listen_as(self, domain: Domain) -> None:
        zone = route53.HostedZone.from_hosted_zone_attributes(
            self, "Zone", hosted_zone_id=domain.zone_id, zone_name=domain.name.partition(".")[2]
        )
        proof = acm.CertificateValidation.from_dns(zone)
        certificate = acm.Certificate(self, "Certificate", domain_name=domain.name, validation=proof)
        self.balancer.add_listener(
            "Listener",
            port=HTTPS_PORT,
            certificates=[certificate],
            ssl_policy=elb.SslPolicy.TLS13_RES,
            alpn_policy=elb.AlpnPolicy.HTTP2_PREFERRED,  # gRPC asks for it
            default_target_groups=[self.gateway],
        )
        alias = route53.RecordTarget.from_alias(targets.LoadBalancerTarget(self.balancer))
        route53.ARecord(self, "Name", zone=zone, record_name=f"{domain.name}.", target=alias)

    def _gateway(self, network: Network) -> elb.NetworkTargetGroup:
        return elb.NetworkTargetGroup(
            self,
            "Gateway",
            vpc=network.vpc,
            port=GATEWAY_PORT,
            protocol=elb.Protocol.TCP,
            target_type=elb.TargetType.IP,
            preserve_client_ip=True,  # the gateway's rate limits are per address
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
