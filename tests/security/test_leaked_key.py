"""A signing key that leaked is revoked: none of its tokens is accepted anywhere, and users log in again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from gen.pulsetrack.billing.v1 import GetBillingAccountRequest
from tests.e2e.sessions import Session
from tests.harness.background import Background
from tests.harness.client import Rejected, attempt, connect
from tests.harness.system import NewFolder
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually
from tests.security.leaked import leaked_signer, reasons
from tools.instance import Instance, run_instance
from tools.local.process import ROOT

REFUSED = ["TOKEN_INVALID"] * 3


@pytest.fixture(scope="module")
def rotated(new_folder: NewFolder, background: Background) -> Iterator[tuple[Instance, list[str]]]:
    """A copy whose key leaked and was revoked, and tokens of that key: one was used before, one never."""
    with run_instance(new_folder("leaked"), PULSETRACK_RATE_LIMITS="off") as copy:
        signer = leaked_signer(background, copy)
        used = [signer.long_lived_token("ADMIN") for _ in range(2)]
        never_used = [signer.long_lived_token("ADMIN") for _ in range(2)]
        eventually(
            lambda: all(accepted(copy, token) for token in used)
        )  # a service may still be reading its first keys
        rotate_now(copy.folder)
        yield copy, used + never_used


def accepted(copy: Instance, token: str) -> bool:
    """Returns whether a token is accepted by REST, by native gRPC, and at the ports of patient, billing and auth."""
    not_found = ["BILLING_ACCOUNT_NOT_FOUND", "USER_NOT_FOUND"]
    return reasons(copy, token) == ["", "", ""] and others(copy, token) == not_found


def others(copy: Instance, token: str) -> list[str]:
    """Returns why billing refuses a token at its own port, and auth at the gateway."""
    with (
        connect(copy.state().ports["billing"], "billing", token) as billing,
        Session.open(copy, token) as session,
    ):
        answer = session.rest.get("/v1/auth/me")
        refused = attempt(partial(billing.get_billing_account, GetBillingAccountRequest(id=str(uuid4()))))
    assert isinstance(refused, Rejected)
    return [refused.reason, answer.json()["details"][0]["reason"] if answer.is_error else ""]


def rotate_now(folder: Path) -> None:
    """Runs the command behind `make rotate-keys NOW=1`."""
    command = [sys.executable, "-m", "tools.operate", "rotate-keys", "--now"]
    environment = os.environ | {"PULSETRACK_DATA_DIR": str(folder)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=60, capture_output=True)


def test_every_token_of_a_revoked_key_is_rejected(rotated: tuple[Instance, list[str]]) -> None:
    copy, tokens = rotated
    eventually(lambda: reasons(copy, tokens[0]) == REFUSED and others(copy, tokens[0]) == ["TOKEN_INVALID"] * 2)
    for token in tokens[1:]:
        assert reasons(copy, token) == REFUSED
        assert others(copy, token) == ["TOKEN_INVALID"] * 2


def test_users_can_log_in_after_a_key_is_revoked(rotated: tuple[Instance, list[str]], background: Background) -> None:
    copy, _ = rotated
    with Session.log_in(copy, "admin@pulsetrack.local", copy.admin_password) as admin:
        eventually(lambda: admin.rest.get("/v1/patients").is_success)  # the gateway reads keys every 10 s
    signer: Signer = leaked_signer(background, copy)
    assert reasons(copy, signer.token("USER")) == ["", "", ""]
