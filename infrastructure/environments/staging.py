"""The architecture of production at the smallest size. The domain is a placeholder, which `deploy` rejects."""

from deploy.topology import GATEWAY, TOPOLOGY
from infrastructure.settings import DatabaseSize, Domain, Environment, KafkaSize, Scale

STAGING = Environment(
    name="staging",
    domain=Domain(name="staging.pulsetrack.example", zone_id="Z0000000000000000000A"),
    services=dict.fromkeys((GATEWAY, *TOPOLOGY), Scale(least=1, most=2)),
    database=DatabaseSize(instance="t4g.small", storage_gib=20, multi_az=False, backup_days=7),
    kafka=KafkaSize(instance="t3.small", brokers=2, storage_gib=20),
    admin_email="admin@pulsetrack.example",
    alarm_email="operations@pulsetrack.example",
    keep_data=False,
)
