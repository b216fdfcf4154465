"""The environments that PulseTrack is deployed to, one per module."""

from infrastructure.environments.localstack import LOCALSTACK
from infrastructure.environments.production import PRODUCTION
from infrastructure.environments.staging import STAGING
from infrastructure.settings import Environment

ENVIRONMENTS: dict[str, Environment] = {each.name: each for each in (LOCALSTACK, STAGING, PRODUCTION)}
