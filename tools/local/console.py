"""The console output: a line per started part with its start time, and on a terminal the parts that are starting."""

import sys
from contextlib import suppress
from typing import Self


class Console:
    """Prints lines, for files and pipes. Never raises, because the supervisor must survive the loss of its terminal."""

    def __init__(self) -> None:
        self.start_seconds: dict[str, float] = {}
        """The start times of the parts, in the order in which they became ready."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, name: str) -> None:
        """Records that a part is starting."""

    def complete(self, name: str, seconds: float) -> None:
        """Prints that a part is up, and its start time."""
        self.start_seconds[name] = seconds
        self.print(f"  {name:<20} {seconds:6.2f} s")

    def print(self, text: str) -> None:
        """Prints a line."""
        with suppress(OSError):
            print(text, flush=True)

    def close(self) -> None:
        """Ends the animation."""


class TerminalConsole(Console):
    """Also shows a spinner with the parts that are starting."""

    def __init__(self) -> None:
        super().__init__()
        from rich.live import Live  # noqa: PLC0415 - takes 50 ms, and only terminals need it
        from rich.spinner import Spinner  # noqa: PLC0415

        self._spinner = Spinner("dots")
        self._live = Live(self._spinner, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._starting: list[str] = []

    def begin(self, name: str) -> None:
        """Shows that a part is starting."""
        self._starting.append(name)
        self._show()

    def complete(self, name: str, seconds: float) -> None:
        """Prints that a part is up, and its start time."""
        self._starting.remove(name)
        self._show()
        super().complete(name, seconds)

    def print(self, text: str) -> None:
        """Prints a line above the spinner."""
        with suppress(OSError):
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Removes the spinner."""
        with suppress(OSError):
            self._live.stop()

    def _show(self) -> None:
        with suppress(OSError):
            self._spinner.update(text=f"starting {', '.join(self._starting)}")
            self._live.start()


def open_console() -> Console:
    """Returns a console that suits the standard output."""
    return TerminalConsole() if sys.stdout.isatty() else Console()
