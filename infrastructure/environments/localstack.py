"""An emulator on one machine: everything once, nothing kept, no TLS at the door or to Kafka."""

from infrastructure.settings import DatabaseSize, Environment, KafkaSize, Scale

LOCALSTACK = Environment(
    name="localstack",
    domain=None,
    services=dict.fromkeys(("gateway", "auth", "patient", "billing", "analytics"), Scale(least=1, most=2)),
    database=DatabaseSize(instance="t4g.micro", storage_gib=20, multi_az=False, backup_days=1, verified=False),
    kafka=KafkaSize(instance="t3.small", brokers=2, storage_gib=10, tls=False),
    admin_email="admin@pulsetrack.local",
    keep_data=False,
    reflection=True,
)
