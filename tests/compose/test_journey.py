"""What people come for, through the one port that is published."""

from tests.compose.stack import Stack
from tests.e2e.people import Person
from tests.e2e.test_journey import test_by_grpcurl, test_by_native_grpc, test_by_rest

__all__ = [
    "test_by_grpcurl",
    "test_by_native_grpc",
    "test_by_rest",
]  # the journeys of a laptop, too


def test_the_first_admin_logs_in_with_the_password_that_was_made(system: Stack) -> None:
    password = (system.secrets / "admin-password").read_text()
    with Person.logged_in(system, "admin@pulsetrack.local", password) as admin:
        assert admin.get("/v1/auth/me")["role"] == "ROLE_ADMIN"
