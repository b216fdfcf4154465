"""The one error that the user of the local system sees."""


class StartError(Exception):
    """Occurs when this machine, a folder or a setting does not let PulseTrack run. Its text is all that is shown."""
