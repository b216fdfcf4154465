"""Client sessions with the gateway: REST, and native gRPC on the same port."""

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
    """A system with a gateway."""

    @property
    def url(self) -> str:
        """The URL of the gateway."""


class Administered(System, Protocol):
    """A system whose first admin has the default email."""

    @property
    def admin_password(self) -> str:
        """The first admin's password."""


@dataclass
class Session:
    """A client of the gateway. Its token is empty if it is anonymous."""

    rest: httpx.Client
    channel: grpc.Channel
    token: str
    refresh_token: str = ""

    @classmethod
    @contextmanager
    def open(cls, system: System, token: str = "") -> Iterator[Self]:
        """Opens a session with a token, or an anonymous one."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        address = system.url.removeprefix("http://")
        with (
            httpx.Client(base_url=system.url, headers=headers, timeout=20) as rest,
            grpc.insecure_channel(address) as channel,
        ):
            yield cls(rest, channel, token)

    @classmethod
    @contextmanager
    def sign_up(cls, system: System) -> Iterator[Self]:
        """Signs up a new user and logs in."""
        name = uuid4().hex
        email = f"{name}@clinic.test"
        with cls.open(system) as anonymous:
            new = {"email": email, "username": name, "password": PASSWORD}
            anonymous.rest.post("/v1/auth/signup", json=new).raise_for_status()
        with cls.log_in(system, email, PASSWORD) as session:
            yield session

    @classmethod
    @contextmanager
    def create_user(cls, system: Administered) -> Iterator[Self]:
        """Creates a user as the first admin, which needs no open sign-up, and logs the user in."""
        name = uuid4().hex
        new = {"email": f"{name}@clinic.test", "username": name, "password": PASSWORD}
        with cls.log_in(system, ADMIN_EMAIL, system.admin_password) as admin:
            admin.post("/v1/users", new)
        with cls.log_in(system, new["email"], PASSWORD) as session:
            yield session

    @classmethod
    @contextmanager
    def log_in(cls, system: System, email: str, password: str) -> Iterator[Self]:
        """Logs in. Raises httpx.HTTPStatusError."""
        with cls.open(system) as anonymous:
            response = anonymous.rest.post("/v1/auth/login", json={"email": email, "password": password})
            tokens = response.raise_for_status().json()
        with cls.open(system, tokens["accessToken"]) as session:
            session.refresh_token = tokens["refreshToken"]
            yield session

    def client(self, service: str) -> Client:
        """Returns a native gRPC client of a service, through the gateway."""
        return Client(self.channel, service, self.token)

    def request(self, verb: str, path: str, **options: Any) -> httpx.Response:
        """Sends a REST request and returns the response. The body of a successful stream is not read."""
        with self.rest.stream(verb, path, **options) as response:
            if response.is_error or path not in _STREAMS:
                response.read()
        return response

    def get(self, path: str, **query: Any) -> Any:
        """Gets JSON. Raises httpx.HTTPStatusError."""
        return self.rest.get(path, params=query).raise_for_status().json()

    def post(self, path: str, body: Any) -> Any:
        """Posts JSON and returns the JSON of the response. Raises httpx.HTTPStatusError."""
        return self.rest.post(path, json=body).raise_for_status().json()


def a_patient(**fields: Any) -> dict[str, Any]:
    """Returns the JSON of a valid patient with a unique email."""
    usual = {
        "name": "Ana Silva",
        "email": f"{uuid4()}@clinic.test",
        "address": "1 High Street",
        "dateOfBirth": "1980-02-29",
    }
    return usual | fields


def list_all(session: Session, path: str, field: str, **query: Any) -> list[dict[str, Any]]:
    """Returns the resources of all pages of a list."""
    found, token = [], ""
    while True:
        page = session.get(path, pageSize=1000, pageToken=token, **query)
        found += page.get(field, [])
        if not (token := page.get("nextPageToken", "")):
            return found


def list_methods(admin: Session, patient_id: str) -> list[str]:
    """Returns the methods of a patient's access events, oldest first."""
    events = admin.get(f"/v1/patients/{patient_id}/access-events")["accessEvents"]
    return [event["method"].rpartition("/")[2] for event in reversed(events)]


def fill_path(path: str) -> str:
    """Returns a REST path with a random id in place of each variable."""
    return contract.PATH_VARIABLE.sub(str(uuid4()), path)


def service_token(system: Instance) -> str:
    """Returns a token of the patient service, which auth issues at its own port."""
    secret = (system.folder / "secrets" / "patient-client-secret").read_text(encoding="utf-8")
    with grpc.insecure_channel(f"127.0.0.1:{system.state().ports['auth']}") as channel:
        request = IssueServiceTokenRequest(client_id="patient", client_secret=secret)
        token: str = Client(channel, "auth").issue_service_token(request).access_token
        return token
