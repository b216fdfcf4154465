"""The main use cases, through the published port."""

from tests.deploy.compose.stack import Stack
from tests.e2e.sessions import ADMIN_EMAIL, PASSWORD, Session
from tests.e2e.test_journey import test_journey_by_grpc, test_journey_by_grpcurl, test_journey_by_rest

__all__ = [
    "test_journey_by_grpc",
    "test_journey_by_grpcurl",
    "test_journey_by_rest",
]  # the same as on a local system


def test_first_admin_logs_in_with_the_generated_password(system: Stack) -> None:
    with Session.log_in(system, ADMIN_EMAIL, system.admin_password) as admin:
        assert admin.get("/v1/auth/me")["role"] == "ROLE_ADMIN"


def test_sign_up_is_closed(system: Stack) -> None:
    new = {"email": "visitor@clinic.test", "username": "visitor", "password": PASSWORD}
    with Session.open(system) as visitor:
        response = visitor.rest.post("/v1/auth/signup", json=new)
    assert (response.status_code, response.json()["details"][0]["reason"]) == (403, "SIGN_UP_CLOSED")
