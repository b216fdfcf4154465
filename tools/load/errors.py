"""What keeps load from being made."""


class LoadError(Exception):
    """Occurs when there is nothing to load, or it lets nobody in. Its text is for the user."""
