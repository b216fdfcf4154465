"""The monitoring stack: metrics of the log, alarms, and a dashboard."""

from constructs import Construct

from infrastructure.alarms import Alarms
from infrastructure.dashboard import add_dashboard
from infrastructure.data import Data
from infrastructure.edge import Edge
from infrastructure.jobs import Jobs
from infrastructure.metrics import LOG_METRICS
from infrastructure.settings import Environment
from infrastructure.stack import Stack


class Monitoring(Stack):
    """What notifies operators. The system runs without it."""

    def __init__(self, scope: Construct, environment: Environment, *, data: Data, edge: Edge, jobs: Jobs) -> None:
        super().__init__(scope, environment, "monitoring")
        if environment.log_metrics:
            for metric in LOG_METRICS:
                metric.add_filter(self, environment, jobs.log)
        Alarms(self, environment, data=data, edge=edge, jobs=jobs)
        if environment.dashboard:
            add_dashboard(self, environment, data=data, edge=edge, jobs=jobs)
