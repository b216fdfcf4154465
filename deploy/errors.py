"""The error that users of the local system and of Compose see."""


class StartError(Exception):
    """Raised when PulseTrack cannot run on this machine, in this folder or with these settings. Its text is printed."""
