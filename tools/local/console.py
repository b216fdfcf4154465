"""What the user sees while parts come up: a line for each with its time, and on a terminal what is still under way."""

import sys
from contextlib import suppress
from typing import Self


class Progress:
    """Prints lines, for logs and pipes. Never fails: a supervisor must outlive its terminal."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """How long each part took, in the order in which they were done."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def begin(self, name: str) -> None:
        """Notes that a part is under way."""

    def done(self, name: str, seconds: float) -> None:
        """Shows that a part is up, and how long it took."""
        self.seconds[name] = seconds
        self.say(f"  {name:<20} {seconds:6.2f} s")

    def say(self, text: str) -> None:
        """Prints a text."""
        with suppress(OSError):
            print(text, flush=True)

    def finish(self) -> None:
        """Ends what moves on the screen."""


class TerminalProgress(Progress):
    """Shows also what is under way, with a spinner."""

    def __init__(self) -> None:
        super().__init__()
        from rich.live import Live  # noqa: PLC0415 - costs 50 ms, and only terminals need it
        from rich.spinner import Spinner  # noqa: PLC0415

        self._spinner = Spinner("dots")
        self._live = Live(self._spinner, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._under_way: list[str] = []

    def begin(self, name: str) -> None:
        """Shows that a part is under way."""
        self._under_way.append(name)
        self._show()

    def done(self, name: str, seconds: float) -> None:
        """Shows that a part is up, and how long it took."""
        self._under_way.remove(name)
        self._show()
        super().done(name, seconds)

    def say(self, text: str) -> None:
        """Prints a text above the spinner."""
        with suppress(OSError):
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def finish(self) -> None:
        """Removes the spinner."""
        with suppress(OSError):
            self._live.stop()

    def _show(self) -> None:
        with suppress(OSError):
            self._spinner.update(text=f"starting {', '.join(self._under_way)}")
            self._live.start()


def progress() -> Progress:
    """Returns what suits the standard output."""
    return TerminalProgress() if sys.stdout.isatty() else Progress()
