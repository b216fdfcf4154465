"""The measured calls, and the systems and protocols over which they are measured."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from uuid import uuid4

from bench.apis import Api
from bench.system import System
from tools.load.clients import Json

OURS = "PulseTrack, REST"
NATIVE = "PulseTrack, gRPC"
REFERENCE = "reference"
REFERENCE_GATEWAY = "reference behind Envoy"
REFERENCE_UNTUNED = "reference, untuned"

_LETTERS = "ghjkmpqrtvwz"  # no hexadecimal digits, which occur in email addresses


@dataclass(frozen=True)
class Seed:
    """The patients of a system before the measurements."""

    ids: Sequence[str]
    surnames: Sequence[str]
    """Their surnames, each of which a search finds once."""


@dataclass
class Variant:
    """A system, called over one protocol and through one door."""

    name: str
    system: System
    api: Api
    credentials: tuple[str, str]
    """The email address and the password of a user."""
    seed: Seed = field(default_factory=lambda: Seed((), ()))


@dataclass(frozen=True)
class Case:
    """A measured call."""

    name: str
    share: float
    """The number of calls, as a fraction of the calls of GET."""
    call: Callable[[Variant, int], Awaitable[object]]
    """Makes the call with a number, which differs for each call."""
    variants: tuple[str, ...] = (OURS, REFERENCE, REFERENCE_GATEWAY)
    is_change: bool = False
    """Whether the deliveries that follow are part of the call."""


def build_surnames(count: int) -> list[str]:
    """Returns different surnames."""
    letters = list(product(_LETTERS, repeat=4))
    return [f"Kov{''.join(letters[number * 7])}" for number in range(count)]


def build_patient(surname: str = "Silva") -> Json:
    """Returns a new patient, as a request."""
    return {
        "name": f"Ana {surname}",
        "email": f"{uuid4()}@clinic.test",
        "address": "1 High Street",
        "dateOfBirth": "1980-02-29",
        "phone": "+351 21 000 000",
        "sex": "SEX_FEMALE",
    }


async def seed_patients(variant: Variant, count: int) -> Seed:
    """Creates patients."""
    surnames = build_surnames(count)
    ids = [(await variant.api.create(build_patient(surname), str(uuid4())))["id"] for surname in surnames]
    return Seed(ids, surnames)


async def _get(variant: Variant, number: int) -> object:
    ids = variant.seed.ids
    return await variant.api.get(ids[number % len(ids)])


async def _list(variant: Variant, _: int) -> object:
    return await variant.api.list_page()


async def _create(variant: Variant, _: int) -> object:
    return await variant.api.create(build_patient(), str(uuid4()))


async def _update(variant: Variant, number: int) -> object:
    ids = variant.seed.ids
    return await variant.api.update(ids[number % len(ids)], {"address": f"{uuid4()} Street"})


async def _search(variant: Variant, number: int) -> object:
    surnames = variant.seed.surnames
    return await variant.api.list_page(surnames[number % len(surnames)])


async def _login(variant: Variant, _: int) -> object:
    return await variant.api.login(*variant.credentials)


_ALL = (OURS, REFERENCE, NATIVE, REFERENCE_GATEWAY, REFERENCE_UNTUNED)

CASES = (
    Case("GET", 1, _get, _ALL),
    Case("LIST of 50", 0.4, _list, _ALL),
    Case("CREATE, the whole job", 0.4, _create, _ALL, is_change=True),
    Case("UPDATE, the whole job", 0.3, _update, is_change=True),
    Case("search", 0.4, _search),
    Case("login", 0.05, _login),
)
"""The measured calls. The whole job of a change includes billing, the event, analytics and the audit log."""
