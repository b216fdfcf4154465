"""The violations that handlers of the analytics service report. They complete those of an invalid request."""

from collections.abc import Mapping
from datetime import UTC, datetime

from gen.pulsetrack.analytics.v1 import GetPatientStatisticsRequest
from services.analytics.domain import find_period_violations, resolve_period


class StatisticsChecks:
    """Finds violations without the database."""

    async def get_patient_statistics(self, request: GetPatientStatisticsRequest) -> Mapping[str, str]:
        """Returns the violations of the period."""
        return find_period_violations(*resolve_period(request.start, request.end, now=datetime.now(UTC)))
