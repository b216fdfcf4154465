"""Clients of the measured APIs, with one method for each measured call. They raise BenchError for every failure."""

import json
from abc import ABC, abstractmethod
from typing import Any, cast

import aiohttp

from bench.errors import BenchError
from tools.load.clients import GrpcClient, Json
from tools.load.measurement import OK

_HTTP_OK = 200


class Api(ABC):
    """A client of one API."""

    @abstractmethod
    async def login(self, email: str, password: str) -> str:
        """Returns an access token."""

    @abstractmethod
    def authorize(self, token: str) -> None:
        """Sends the token with all subsequent calls."""

    @abstractmethod
    async def get(self, patient_id: str) -> Json:
        """Returns a patient."""

    @abstractmethod
    async def list_page(self, query: str = "") -> Json:
        """Returns the first page of patients that match a query."""

    @abstractmethod
    async def create(self, patient: Json, key: str) -> Json:
        """Creates a patient, once per key."""

    @abstractmethod
    async def update(self, patient_id: str, change: Json) -> Json:
        """Updates a patient."""


class RestApi(Api):
    """A client of a REST API over HTTP/1.1, for PulseTrack and for the reference service."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._headers = {"accept-encoding": "identity", "content-type": "application/json"}

    def authorize(self, token: str) -> None:
        """Sends the token with all subsequent calls."""
        self._headers["authorization"] = f"Bearer {token}"

    async def login(self, email: str, password: str) -> str:
        """Returns an access token."""
        tokens = await self._call("POST", "/v1/auth/login", {"email": email, "password": password})
        return str(tokens["accessToken"])

    async def get(self, patient_id: str) -> Json:
        """Returns a patient."""
        return await self._call("GET", f"/v1/patients/{patient_id}")

    async def list_page(self, query: str = "") -> Json:
        """Returns the first page of patients that match a query."""
        return await self._call("GET", f"/v1/patients?query={query}" if query else "/v1/patients")

    async def create(self, patient: Json, key: str) -> Json:
        """Creates a patient, once per key."""
        return await self._call("POST", "/v1/patients", patient, {"idempotency-key": key})

    async def update(self, patient_id: str, change: Json) -> Json:
        """Updates a patient."""
        return await self._call("PATCH", f"/v1/patients/{patient_id}", change)

    async def _call(
        self, verb: str, path: str, body: Json | None = None, headers: dict[str, str] | None = None
    ) -> Json:
        content = None if body is None else json.dumps(body)
        try:
            async with self._session.request(
                verb, path, data=content, headers={**self._headers, **(headers or {})}
            ) as response:
                received = await response.read()
        except (TimeoutError, aiohttp.ClientError) as error:
            raise BenchError(f"{verb} {path}: {error!r}") from error
        if response.status != _HTTP_OK:
            raise BenchError(f"{verb} {path}: {response.status} {received.decode(errors='replace')[:300]}")
        return cast("Json", json.loads(received))


class NativeApi(Api):
    """A client of PulseTrack's gRPC API."""

    def __init__(self, client: GrpcClient) -> None:
        self._client = client

    def authorize(self, token: str) -> None:
        """Sends the token with all subsequent calls."""
        self._client.token = token

    async def login(self, email: str, password: str) -> str:
        """Returns an access token."""
        return str((await self._call("Login", {"email": email, "password": password}))["accessToken"])

    async def get(self, patient_id: str) -> Json:
        """Returns a patient."""
        return await self._call("GetPatient", {"id": patient_id})

    async def list_page(self, query: str = "") -> Json:
        """Returns the first page of patients that match a query."""
        return await self._call("ListPatients", {"query": query})

    async def create(self, patient: Json, key: str) -> Json:
        """Creates a patient, once per key."""
        return await self._call("CreatePatient", {"patient": patient, "requestId": key})

    async def update(self, patient_id: str, change: Json) -> Json:
        """Updates a patient."""
        return await self._call("UpdatePatient", {"patient": {"id": patient_id, **change}})

    async def _call(self, name: str, request: Any) -> Json:
        response = await self._client.call(name, request)
        if response.status != OK:
            raise BenchError(f"{name}: {response.status}")
        return response.json()
