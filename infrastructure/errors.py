"""The error of deployments."""


class DeployError(Exception):
    """Raised when a deployment fails, or when the deployed system does not work. Its text is printed."""
