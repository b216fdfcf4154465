"""An emulator on one machine: single instances, no retained data, and no TLS at the load balancer or to Kafka."""

from deploy.topology import GATEWAY, TOPOLOGY
from infrastructure.settings import DatabaseSize, Environment, KafkaSize, Scale

LOCALSTACK = Environment(
    name="localstack",
    domain=None,
    services=dict.fromkeys((GATEWAY, *TOPOLOGY), Scale(least=1, most=2)),
    database=DatabaseSize(instance="t4g.micro", storage_gib=20, multi_az=False, backup_days=1, verified=False),
    kafka=KafkaSize(instance="t3.small", brokers=2, storage_gib=10, tls=False),
    admin_email="admin@pulsetrack.local",
    keep_data=False,
    reflection=True,
)
