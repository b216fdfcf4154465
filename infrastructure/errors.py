"""The one error that whoever deploys sees."""


class DeployError(Exception):
    """Occurs when a deployment cannot go on, or what it has deployed does not work. Its text is all that is shown."""
