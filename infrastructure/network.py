"""The private network and the connections that it allows."""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from deploy.topology import COLLECTOR, GATEWAY, GATEWAY_PORT, OTLP_PORT, POSTGRES_PORT, TOPOLOGY
from infrastructure.settings import HTTPS_PORT, Environment, KafkaSize
from infrastructure.stack import Stack, accept

PUBLIC = ec2.SubnetSelection(subnet_group_name="public")
PRIVATE = ec2.SubnetSelection(subnet_group_name="private")

# The security group of the load balancer is called "door" because a new name would replace the deployed group.
BALANCER, JOBS, DATABASE, KAFKA = "door", "jobs", "database", "kafka"

ADDRESSES = "10.0.0.0/16"

_PULL = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
]
TRACE_ACTIONS = ["xray:PutTraceSegments", "xray:PutSpans", "xray:PutSpansForIndexing"]
_ENDPOINTS = {
    "EcrApi": (ec2.InterfaceVpcEndpointAwsService.ECR, _PULL),
    "EcrDocker": (ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER, _PULL),
    "Logs": (ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS, ["logs:CreateLogStream", "logs:PutLogEvents"]),
    "Secrets": (ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER, ["secretsmanager:GetSecretValue"]),
}
_SMTP = ec2.InterfaceVpcEndpointAwsService.EMAIL_SMTP
_XRAY = {"XRay": (ec2.InterfaceVpcEndpointAwsService.XRAY, TRACE_ACTIONS)}
"""The AWS services that tasks call, and the actions that their endpoints permit. Tasks can reach nothing else.

They cost as much as a NAT gateway per zone.
"""


_KAFKA_CLIENTS = [service.name for service in TOPOLOGY.values() if service.uses_kafka]


def list_connections(environment: Environment) -> list[tuple[str, str, int]]:
    """Returns the allowed connections as client, server and port. Security groups reject all others."""
    services = TOPOLOGY.values()
    return [
        (BALANCER, GATEWAY, GATEWAY_PORT),
        *((GATEWAY, service.name, service.port) for service in services),
        *((service.name, called, TOPOLOGY[called].port) for service in services for called in service.calls),
        *((client, DATABASE, POSTGRES_PORT) for client in (*TOPOLOGY, JOBS)),
        *((client, KAFKA, environment.kafka.port) for client in _KAFKA_CLIENTS if _has_kafka(environment)),
        *((client, COLLECTOR, OTLP_PORT) for client in (GATEWAY, *TOPOLOGY) if environment.telemetry),
    ]


class Network(Stack):
    """A VPC in two availability zones, each with a public subnet and an isolated private subnet.

    Only the load balancer is in the public subnets.
    """

    def __init__(self, scope: Construct, environment: Environment) -> None:
        super().__init__(scope, environment, "network")
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(ADDRESSES),
            max_azs=2,
            nat_gateways=0,
            restrict_default_security_group=False,  # needs a custom resource, and nothing uses that group
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=24, map_public_ip_on_launch=False
                ),
                ec2.SubnetConfiguration(name="private", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=20),
            ],
        )
        if environment.flow_logs:
            self._log_flows()
        else:
            accept(self.vpc, "AwsSolutions::AwsSolutions-VPC7", "The cloud has no flow logs.")
        self._add_endpoints(environment)
        optional = [*([KAFKA] if _has_kafka(environment) else []), *([COLLECTOR] if environment.telemetry else [])]
        names = (BALANCER, GATEWAY, *TOPOLOGY, JOBS, DATABASE, *optional)
        self.groups = {name: self._add_group(name) for name in names}
        cdk.CfnOutput(
            self, "Subnets", value=cdk.Fn.join(",", self.vpc.select_subnets(subnet_group_name="private").subnet_ids)
        )
        cdk.CfnOutput(self, "SecurityGroup", value=self.groups[JOBS].security_group_id)
        self._allow_clients(environment)
        for client, server, port in list_connections(environment):
            self.groups[server].connections.allow_from(
                self.groups[client], ec2.Port.tcp(port), f"{client} calls {server}"
            )
        self._allow_outside(environment)

    def _allow_outside(self, environment: Environment) -> None:
        """Allows connections to addresses outside of the deployment's own parts."""
        for name in (GATEWAY, *TOPOLOGY, JOBS, *([COLLECTOR] if environment.telemetry else [])):
            self.groups[name].add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(HTTPS_PORT), "AWS, by its endpoints")
        if environment.telemetry and environment.telemetry.port != HTTPS_PORT:
            receiver = ec2.Port.tcp(environment.telemetry.port)
            self.groups[COLLECTOR].add_egress_rule(ec2.Peer.any_ipv4(), receiver, "the receiver of traces")
        if environment.mail and environment.mail.port != HTTPS_PORT:
            for service in TOPOLOGY.values():
                if service.sends_mail:
                    server = ec2.Port.tcp(environment.mail.port)
                    self.groups[service.name].add_egress_rule(ec2.Peer.any_ipv4(), server, "the mail server")
        if not _has_kafka(environment):
            for name in _KAFKA_CLIENTS:
                self.groups[name].add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(environment.kafka.port), "Kafka")

    def _add_group(self, name: str) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            self, f"{name.capitalize()}Group", vpc=self.vpc, description=f"PulseTrack {name}", allow_all_outbound=False
        )

    def _allow_clients(self, environment: Environment) -> None:
        group = self.groups[BALANCER]
        clients = ec2.Peer.any_ipv4() if environment.domain else ec2.Peer.ipv4(ADDRESSES)
        group.add_ingress_rule(clients, ec2.Port.tcp(environment.port), "clients")
        if environment.domain:
            accept(
                group, "AwsSolutions::AwsSolutions-EC23", "The load balancer is public, with TLS. Nothing behind it is."
            )

    def _add_endpoints(self, environment: Environment) -> None:
        images = self.vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)
        images.add_to_policy(self._permit_images())
        images.add_to_policy(self._permit_own_buckets())
        group = ec2.SecurityGroup(
            self, "EndpointsGroup", vpc=self.vpc, description="PulseTrack AWS endpoints", allow_all_outbound=False
        )
        group.add_ingress_rule(ec2.Peer.ipv4(ADDRESSES), ec2.Port.tcp(HTTPS_PORT), "tasks")
        telemetry = environment.telemetry
        for name, (service, actions) in (_ENDPOINTS | (_XRAY if telemetry and not telemetry.endpoint else {})).items():
            endpoint = self.vpc.add_interface_endpoint(
                name, service=service, subnets=PRIVATE, security_groups=[group], open=False
            )
            endpoint.add_to_policy(self._permit_account(actions))
        if environment.mail:
            group.add_ingress_rule(ec2.Peer.ipv4(ADDRESSES), ec2.Port.tcp(environment.mail.port), "mail")
            self.vpc.add_interface_endpoint("Smtp", service=_SMTP, subnets=PRIVATE, security_groups=[group], open=False)

    def _permit_account(self, actions: list[str]) -> iam.PolicyStatement:
        """Returns a statement that permits actions to principals of this account only."""
        return iam.PolicyStatement(
            principals=[iam.AnyPrincipal()],
            actions=actions,
            resources=["*"],
            conditions={"StringEquals": {"aws:PrincipalAccount": self.account}},
        )

    def _permit_images(self) -> iam.PolicyStatement:
        """Returns a statement that permits to read the layers of images, which ECR stores in a bucket of its own."""
        bucket = f"arn:{self.partition}:s3:::prod-{self.region}-starport-layer-bucket/*"
        return iam.PolicyStatement(principals=[iam.AnyPrincipal()], actions=["s3:GetObject"], resources=[bucket])

    def _permit_own_buckets(self) -> iam.PolicyStatement:
        """Returns a statement that permits to use the buckets of this account only, for backups."""
        return iam.PolicyStatement(
            principals=[iam.AnyPrincipal()],
            actions=["s3:AbortMultipartUpload", "s3:GetObject", "s3:ListBucket", "s3:PutObject"],
            resources=["*"],
            conditions={
                "StringEquals": {"aws:PrincipalAccount": self.account, "aws:ResourceAccount": self.account},
            },
        )

    def _log_flows(self) -> None:
        group = logs.LogGroup(
            self, "FlowLogs", retention=logs.RetentionDays.ONE_MONTH, removal_policy=cdk.RemovalPolicy.DESTROY
        )
        self.vpc.add_flow_log(
            "Flows",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(group),
            traffic_type=ec2.FlowLogTrafficType.REJECT,
        )


def _has_kafka(environment: Environment) -> bool:
    return isinstance(environment.kafka, KafkaSize)
