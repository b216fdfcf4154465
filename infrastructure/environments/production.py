"""Production: redundant instances and retained data. The domain is a placeholder, which `deploy` rejects."""

from infrastructure.settings import BackupPlan, DatabaseSize, Domain, Environment, KafkaSize, Scale

PRODUCTION = Environment(
    name="production",
    domain=Domain(name="api.pulsetrack.example", zone_id="Z0000000000000000000B"),
    services={
        "gateway": Scale(least=2, most=6, cpu=512, memory_mib=1024),
        "auth": Scale(least=2, most=8, cpu=1024, memory_mib=2048),  # argon2id needs CPU and memory
        "patient": Scale(least=2, most=12, cpu=1024, memory_mib=2048),
        "billing": Scale(least=2, most=6),
        "analytics": Scale(least=2, most=6),  # at most one per partition of the topic
    },
    database=DatabaseSize(instance="m7g.large", storage_gib=100, multi_az=True, backup_days=35, max_connections=800),
    kafka=KafkaSize(instance="m7g.large", brokers=2, storage_gib=100),
    admin_email="admin@pulsetrack.example",
    backup=BackupPlan(lock_days=35, scratch_gib=100),
    alarm_email="operations@pulsetrack.example",
    keep_data=True,
)
