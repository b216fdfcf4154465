"""The private network, and who may call whom in it."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs
from constructs import Construct

from infrastructure.settings import (
    GATEWAY,
    GATEWAY_PORT,
    HTTPS_PORT,
    POSTGRES_PORT,
    SERVICE_PORT,
    SERVICES,
    USES_KAFKA,
    Environment,
)
from infrastructure.stack import Stack, accept

PUBLIC = ec2.SubnetSelection(subnet_group_name="public")
PRIVATE = ec2.SubnetSelection(subnet_group_name="private")

DOOR, JOBS, DATABASE, KAFKA = "door", "jobs", "database", "kafka"

ADDRESSES = "10.0.0.0/16"

_ENDPOINTS = {
    "EcrApi": ec2.InterfaceVpcEndpointAwsService.ECR,
    "EcrDocker": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
    "Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "Secrets": ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
}
"""All of AWS that a task calls. In two zones they cost what two NAT gateways cost, and nothing else can be reached."""


def calls(environment: Environment) -> list[tuple[str, str, int]]:
    """Returns who calls whom at which port. What is not in this list is refused by the network."""
    kafka = environment.kafka.port
    return [
        (DOOR, GATEWAY, GATEWAY_PORT),
        *((GATEWAY, service, SERVICE_PORT) for service in SERVICES),
        *((service, "auth", SERVICE_PORT) for service in SERVICES if service != "auth"),
        ("patient", "billing", SERVICE_PORT),
        *((caller, DATABASE, POSTGRES_PORT) for caller in (*SERVICES, JOBS)),
        *((service, KAFKA, kafka) for service in SERVICES if service in USES_KAFKA),
    ]


class Network(Stack):
    """Two zones, each with a public subnet for the door and a private one, without a way out, for all the rest."""

    def __init__(self, scope: Construct, environment: Environment) -> None:
        super().__init__(scope, environment, "network")
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(ADDRESSES),
            max_azs=2,
            nat_gateways=0,
            restrict_default_security_group=False,  # would take a custom resource; nothing uses that group
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=24, map_public_ip_on_launch=False
                ),
                ec2.SubnetConfiguration(name="private", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=20),
            ],
        )
        self._log_flows()
        self._add_endpoints()
        names = (DOOR, GATEWAY, *SERVICES, JOBS, DATABASE, KAFKA)
        self.groups = {name: self._group(name) for name in names}
        self._open_door(environment)
        for caller, called, port in calls(environment):
            self.groups[called].connections.allow_from(
                self.groups[caller], ec2.Port.tcp(port), f"{caller} calls {called}"
            )
        for name in (GATEWAY, *SERVICES, JOBS):
            self.groups[name].add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(HTTPS_PORT), "AWS, by its endpoints")

    def _group(self, name: str) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            self, f"{name.capitalize()}Group", vpc=self.vpc, description=f"PulseTrack {name}", allow_all_outbound=False
        )

    def _open_door(self, environment: Environment) -> None:
        door = self.groups[DOOR]
        everybody = ec2.Peer.any_ipv4() if environment.domain else ec2.Peer.ipv4(ADDRESSES)
        door.add_ingress_rule(everybody, ec2.Port.tcp(environment.port), "clients")
        if environment.domain:
            accept(door, "AwsSolutions::AwsSolutions-EC23", "It is the public door, by TLS; what is behind it is not.")

    def _add_endpoints(self) -> None:
        self.vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)  # ECR keeps layers there
        group = ec2.SecurityGroup(
            self, "EndpointsGroup", vpc=self.vpc, description="PulseTrack AWS endpoints", allow_all_outbound=False
        )
        group.add_ingress_rule(ec2.Peer.ipv4(ADDRESSES), ec2.Port.tcp(HTTPS_PORT), "tasks")
        for name, service in _ENDPOINTS.items():
            self.vpc.add_interface_endpoint(name, service=service, subnets=PRIVATE, security_groups=[group], open=False)

    def _log_flows(self) -> None:
        group = logs.LogGroup(
            self, "FlowLogs", retention=logs.RetentionDays.ONE_MONTH, removal_policy=cdk.RemovalPolicy.DESTROY
        )
        self.vpc.add_flow_log(
            "Flows",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(group),
            traffic_type=ec2.FlowLogTrafficType.REJECT,
        )
