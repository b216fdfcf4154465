"""The CloudWatch dashboard: what users notice, what waits, and what is nearly full."""

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infrastructure.data import Data
from infrastructure.edge import Edge
from infrastructure.jobs import Jobs
from infrastructure.metrics import LOG_METRICS, read_consumer_lag, read_kafka, read_running_tasks
from infrastructure.settings import Environment, KafkaSize

_WIDTH = 8  # three graphs per row


def add_dashboard(scope: Construct, environment: Environment, *, data: Data, edge: Edge, jobs: Jobs) -> None:
    """Adds a dashboard with the metrics that alarms and scaling use."""
    database = data.database
    graphs: dict[str, list[cloudwatch.IMetric]] = {
        "Healthy gateways": [edge.balancer.count_healthy()],
        **{metric.name: [metric.read(environment)] for metric in LOG_METRICS if environment.log_metrics},
        "Running tasks": [read_running_tasks(jobs.cluster.cluster_name, name) for name in environment.services],
        "Database CPU": [database.metric_cpu_utilization()],
        "Database connections": [database.metric_database_connections()],
        "Database free memory": [database.metric_freeable_memory()],
        "Database free storage": [database.metric_free_storage_space()],
        "Database latency": [database.metric("ReadLatency"), database.metric("WriteLatency")],
    }
    if isinstance(environment.kafka, KafkaSize):
        brokers = [str(broker) for broker in range(1, environment.kafka.brokers + 1)]
        disks = [read_kafka("KafkaDataLogsDiskUsed", data.kafka_name, {"Broker ID": broker}) for broker in brokers]
        graphs |= {
            "Events not consumed": [read_consumer_lag(data.kafka_name)],
            "Kafka disk used": [*disks],
            "Kafka offline partitions": [read_kafka("OfflinePartitionsCount", data.kafka_name)],
        }
    dashboard = cloudwatch.Dashboard(scope, "Dashboard", dashboard_name=f"pulsetrack-{environment.name}")
    for title, metrics in graphs.items():
        dashboard.add_widgets(cloudwatch.GraphWidget(title=title, left=metrics, width=_WIDTH))
