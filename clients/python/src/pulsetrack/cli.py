"""The command-line tool `pulsetrack`."""

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import TypeAlias, TypeVar

from google.protobuf.message import Message

from pulsetrack.analytics.v1.analytics_pb2 import Bucket
from pulsetrack.auth.v1.auth_pb2 import GetCurrentUserRequest
from pulsetrack.client import connect
from pulsetrack.credentials import DEFAULT_URL, CredentialsFile, connect_stored, default_path
from pulsetrack.errors import PulseTrackError
from pulsetrack.patient.v1.patient_pb2 import Sex
from pulsetrack.patients import PatientFields
from pulsetrack.records import FileError
from pulsetrack.session import Password, TokenStore

try:
    import shtab

    from pulsetrack import output, transfers
except ImportError:
    sys.exit(
        "The command-line tool needs the packages pyyaml, rich and shtab, which the extra `cli` of pulsetrack installs."
    )

_FIELDS = ("name", "email", "address", "date-of-birth", "registered-date", "phone", "medical-record-number")
_SEXES = [name.removeprefix("SEX_").lower() for name in Sex.keys()[1:]]
_BUCKETS = [name.removeprefix("BUCKET_").lower() for name in Bucket.keys()[1:]]
_ENVIRONMENT = (
    "login reads PULSETRACK_URL, PULSETRACK_EMAIL and PULSETRACK_PASSWORD instead of asking. "
    "A machine client needs no login: set PULSETRACK_URL, PULSETRACK_CLIENT_ID and PULSETRACK_CLIENT_SECRET."
)

Printed = TypeVar("Printed", bound=Message)
Command = Callable[[argparse.Namespace], Coroutine[None, None, None]]
_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


async def log_in(arguments: argparse.Namespace) -> None:
    """Logs in with a password, and a code if the user has a second factor. Stores the session."""
    credentials = Password(*_ask(arguments.email), code=lambda: input("Code: "))
    store = TokenStore()
    async with connect(arguments.url, credentials=credentials, store=store) as client:
        user = await client.call(client.auth.GetCurrentUser, GetCurrentUserRequest())
    if tokens := store.load():
        CredentialsFile(default_path()).begin(arguments.url, tokens)
    print(f"Logged in as {user.email}.")


async def log_out(_: argparse.Namespace) -> None:
    """Ends the session."""
    async with connect_stored() as client:
        await client.session.log_out()
    CredentialsFile(default_path()).delete()


async def list_patients(arguments: argparse.Namespace) -> None:
    """Lists patients, newest first or best matches first."""
    found = []
    size = min(arguments.limit, 1000)
    async with (
        connect_stored() as client,
        aclosing(
            client.patients.list(query=arguments.query, show_deleted=arguments.show_deleted, page_size=size)
        ) as patients,
    ):
        async for patient in patients:
            found.append(patient)
            if len(found) == arguments.limit:
                break
    if arguments.output == "table":
        output.print_patients(found)
    else:
        for patient in found:
            output.print_json(patient)


async def get_patient(arguments: argparse.Namespace) -> None:
    """Prints a patient."""
    async with connect_stored() as client:
        patient = await client.patients.get(arguments.id)
    _printer(arguments, output.print_patient)(patient)


async def create_patient(arguments: argparse.Namespace) -> None:
    """Creates a patient."""
    async with connect_stored() as client:
        patient = await client.patients.create(request_id=arguments.request_id, **_fields(arguments))
    _printer(arguments, output.print_patient)(patient)


async def update_patient(arguments: argparse.Namespace) -> None:
    """Changes fields of a patient."""
    async with connect_stored() as client:
        patient = await client.patients.update(arguments.id, etag=arguments.etag, **_fields(arguments))
    _printer(arguments, output.print_patient)(patient)


async def watch(arguments: argparse.Namespace) -> None:
    """Prints changes of patients as they happen, until Ctrl-C."""
    async with connect_stored() as client, aclosing(client.patients.watch(arguments.resume_token)) as changes:
        async for change in changes:
            _printer(arguments, output.print_change)(change)


async def show_statistics(arguments: argparse.Namespace) -> None:
    """Prints registrations, updates and deletions over time."""
    bucket = Bucket.Value(f"BUCKET_{arguments.bucket.upper()}")
    async with connect_stored() as client:
        statistics = await client.statistics(start=arguments.start, end=arguments.end, bucket=bucket)
    _printer(arguments, output.print_statistics)(statistics)


def _printer(arguments: argparse.Namespace, print_table: Callable[[Printed], None]) -> Callable[[Printed], None]:
    return print_table if arguments.output == "table" else output.print_json


def _ask(email: str | None) -> tuple[str, str]:
    return email or input("Email: "), os.environ.get("PULSETRACK_PASSWORD") or getpass.getpass()


def _fields(arguments: argparse.Namespace) -> PatientFields:
    fields = PatientFields()
    for name in PatientFields.__annotations__:
        if (value := getattr(arguments, name)) is not None:
            fields[name] = Sex.Value(f"SEX_{value.upper()}") if name == "sex" else value  # type: ignore[literal-required]
    return fields


def _date(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a date, as YYYY-MM-DD: {text}") from None


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"not an HTTP URL: {text}")
    return text


def _add_command(group: _Commands, name: str, run: Command, summary: str) -> argparse.ArgumentParser:
    command = group.add_parser(name, help=summary, description=f"{summary}.")
    command.set_defaults(run=run)
    return command


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument("--output", "-o", choices=["table", "json"], default="table", help="json: an object per line")


def _add_patient_commands(commands: _Commands) -> None:
    patients = commands.add_parser("patients", help="Read and change patients")
    group = patients.add_subparsers(required=True, metavar="COMMAND")
    listing = _add_command(group, "list", list_patients, "List patients, newest or best matches first")
    listing.add_argument("--query", "-q", default="", help="words of names, emails, phone and record numbers")
    listing.add_argument("--limit", type=int, default=50, help="the maximum number (%(default)s)")
    listing.add_argument("--show-deleted", action="store_true", help="include deleted patients")
    getting = _add_command(group, "get", get_patient, "Show a patient")
    getting.add_argument("id")
    creating = _add_command(group, "create", create_patient, "Create a patient")
    creating.add_argument("--request-id", default="", help="repeat a call with the same ID to create one patient")
    updating = _add_command(group, "update", update_patient, "Change fields of a patient")
    updating.add_argument("id")
    updating.add_argument("--etag", default="", help="fail if the patient has changed since this version")
    for command in (creating, updating):
        for field in _FIELDS:
            command.add_argument(f"--{field}")
        command.add_argument("--sex", choices=_SEXES)
    for command in (listing, getting, creating, updating):
        _add_output(command)


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the arguments."""
    parser = argparse.ArgumentParser(
        prog="pulsetrack", description="Calls PulseTrack, a patient-management backend.", epilog=_ENVIRONMENT
    )
    shtab.add_argument_to(parser, "--print-completion", help="print a completion script for a shell")
    parser.add_argument("--version", action="version", version=version("pulsetrack"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    login = _add_command(commands, "login", log_in, "Log in, and store the session")
    login.add_argument(
        "--url", type=_url, default=os.environ.get("PULSETRACK_URL", DEFAULT_URL), help="default: %(default)s"
    )
    login.add_argument("--email", default=os.environ.get("PULSETRACK_EMAIL"))
    _add_command(commands, "logout", log_out, "End the session")
    _add_patient_commands(commands)
    transfers.add_commands(partial(_add_command, commands))
    watching = _add_command(commands, "watch", watch, "Print changes of patients as they happen, until Ctrl-C")
    watching.add_argument("--resume-token", default="", help="continue after this token")
    statistics = _add_command(commands, "stats", show_statistics, "Show registrations, updates and deletions over time")
    statistics.add_argument("--bucket", choices=_BUCKETS, default="day")
    statistics.add_argument("--start", type=_date, help="a date, as YYYY-MM-DD")
    statistics.add_argument("--end", type=_date, help="a date, as YYYY-MM-DD")
    for command in (watching, statistics):
        _add_output(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit code: 1 after printing an error, 2 if the arguments are invalid."""
    arguments = build_parser().parse_args(argv)
    try:
        asyncio.run(arguments.run(arguments))
    except (PulseTrackError, FileError) as error:
        print(error, file=sys.stderr)
        return 1
    except EOFError:
        print("No input. Set PULSETRACK_EMAIL and PULSETRACK_PASSWORD.", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more can be printed at exit
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
