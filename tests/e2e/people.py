"""People who use PulseTrack through the gateway: by REST, and by native gRPC on the same port."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, Self
from uuid import uuid4

import grpc
import httpx

from gen.pulsetrack.auth.v1 import IssueServiceTokenRequest
from services.common.protobuf import contract
from tests.harness.client import Client
from tools.instance import Instance

ADMIN_EMAIL = "admin@pulsetrack.local"
PASSWORD = "correct horse"
_STREAMS = {http.path for method in contract.all_methods() if method.streams for http in method.http}


class System(Protocol):
    """Whatever has a gateway."""

    @property
    def url(self) -> str:
        """Where the gateway listens."""


class Administered(System, Protocol):
    """A system whose first admin has the usual email."""

    @property
    def admin_password(self) -> str:
        """The first admin's password."""


@dataclass
class Person:
    """Somebody with a session, or nobody with an empty token."""

    rest: httpx.Client
    channel: grpc.Channel
    token: str
    refresh_token: str = ""

    @classmethod
    @contextmanager
    def nobody(cls, system: System, token: str = "") -> Iterator[Self]:
        """Comes with no token, or with one that he has from somewhere."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        address = system.url.removeprefix("http://")
        with (
            httpx.Client(base_url=system.url, headers=headers, timeout=20) as rest,
            grpc.insecure_channel(address) as channel,
        ):
            yield cls(rest, channel, token)

    @classmethod
    @contextmanager
    def signed_up(cls, system: System) -> Iterator[Self]:
        """Signs up and logs in."""
        name = uuid4().hex
        email = f"{name}@clinic.test"
        with cls.nobody(system) as nobody:
            new = {"email": email, "username": name, "password": PASSWORD}
            nobody.rest.post("/v1/auth/signup", json=new).raise_for_status()
        with cls.logged_in(system, email, PASSWORD) as person:
            yield person

    @classmethod
    @contextmanager
    def created(cls, system: Administered) -> Iterator[Self]:
        """Logs in a new user whom the first admin has created, whether sign-up is open or not."""
        name = uuid4().hex
        new = {"email": f"{name}@clinic.test", "username": name, "password": PASSWORD}
        with cls.logged_in(system, ADMIN_EMAIL, system.admin_password) as admin:
            admin.post("/v1/users", new)
        with cls.logged_in(system, new["email"], PASSWORD) as person:
            yield person

    @classmethod
    @contextmanager
    def logged_in(cls, system: System, email: str, password: str) -> Iterator[Self]:
        """Logs in."""
        with cls.nobody(system) as nobody:
            answer = nobody.rest.post("/v1/auth/login", json={"email": email, "password": password})
            tokens = answer.raise_for_status().json()
        with cls.nobody(system, tokens["accessToken"]) as person:
            person.refresh_token = tokens["refreshToken"]
            yield person

    def client(self, service: str) -> Client:
        """Returns a native gRPC client of a service, through the gateway."""
        return Client(self.channel, service, self.token)

    def ask(self, verb: str, path: str, **given: Any) -> httpx.Response:
        """Makes a REST call and returns its answer, of a stream only that it is well."""
        with self.rest.stream(verb, path, **given) as answer:
            if answer.is_error or path not in _STREAMS:
                answer.read()
        return answer

    def get(self, path: str, **query: Any) -> Any:
        """Gets JSON. Raises httpx.HTTPStatusError."""
        return self.rest.get(path, params=query).raise_for_status().json()

    def post(self, path: str, body: Any) -> Any:
        """Posts JSON and returns the answer's. Raises httpx.HTTPStatusError."""
        return self.rest.post(path, json=body).raise_for_status().json()


def a_patient(**fields: Any) -> dict[str, Any]:
    """Returns the JSON of a patient that may be created, unlike any other."""
    usual = {
        "name": "Ana Silva",
        "email": f"{uuid4()}@clinic.test",
        "address": "1 High Street",
        "dateOfBirth": "1980-02-29",
    }
    return usual | fields


def all_pages(person: Person, path: str, field: str, **query: Any) -> list[dict[str, Any]]:
    """Returns everything that a list holds."""
    found, token = [], ""
    while True:
        page = person.get(path, pageSize=1000, pageToken=token, **query)
        found += page.get(field, [])
        if not (token := page.get("nextPageToken", "")):
            return found


def sample(path: str) -> str:
    """Returns a REST path with an id in place of each variable."""
    return contract.PATH_VARIABLE.sub(str(uuid4()), path)


def service_token(system: Instance) -> str:
    """Returns a token of the patient service, which auth issues at its own port."""
    secret = (system.folder / "secrets" / "patient-client-secret").read_text(encoding="utf-8")
    with grpc.insecure_channel(f"127.0.0.1:{system.state().ports['auth']}") as channel:
        request = IssueServiceTokenRequest(client_id="patient", client_secret=secret)
        token: str = Client(channel, "auth").issue_service_token(request).access_token
        return token
