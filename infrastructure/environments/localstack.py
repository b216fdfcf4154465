"""LocalStack on one machine: only resources and options that it emulates, and no retained data.

docs/localstack.md names the source of each choice.
"""

import platform

from deploy.topology import GATEWAY, TOPOLOGY
from infrastructure.settings import DatabaseSize, Environment, ExternalKafka, Scale

PORT = 4566
"""The port of all of LocalStack, which is also that of its load balancers."""

LOCALSTACK = Environment(
    name="localstack",
    domain=None,
    services=dict.fromkeys((GATEWAY, *TOPOLOGY), Scale(least=1, most=2)),
    database=DatabaseSize(
        instance="t4g.micro",
        storage_gib=20,
        multi_az=False,
        backup_days=1,
        version="17",
        administrator="pulsetrack",
        managed_password=False,
        ssl_mode="prefer",
        monitoring_seconds=0,
    ),
    kafka=ExternalKafka(tls=False),
    admin_email="admin@pulsetrack.local",
    keep_data=False,
    reflection=True,
    balancer="application",
    plain_port=PORT,
    drain_seconds=5,
    flow_logs=False,
    architecture="arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64",  # tasks run on this machine
    log_metrics=False,
    dashboard=False,
)
