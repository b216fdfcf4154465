"""The settings of auth."""

import pytest

from services.auth.__main__ import AuthSettings
from services.common.settings import SettingsError

ENVIRONMENT = {
    "PULSETRACK_DATABASE_URL": "postgresql://127.0.0.1/auth",
    "PULSETRACK_LISTEN": "127.0.0.1:0",
    "PULSETRACK_ADMIN_EMAIL": "admin@clinic.test",
    "PULSETRACK_ADMIN_PASSWORD": "a good password",
    "PULSETRACK_KEY_PASSPHRASE": "a good passphrase",
    "PULSETRACK_SERVICE_SECRETS": '{"patient": "a secret"}',
}


def test_service_secrets_are_a_json_object() -> None:
    assert AuthSettings.read(ENVIRONMENT).parse_service_secrets() == {"patient": "a secret"}


def test_sign_up_requires_an_invitation_by_default() -> None:
    assert AuthSettings.read(ENVIRONMENT).sign_up == "invite"
    assert AuthSettings.read(ENVIRONMENT | {"PULSETRACK_SIGN_UP": "open"}).sign_up == "open"


def test_admins_need_no_second_factor_by_default() -> None:
    assert AuthSettings.read(ENVIRONMENT).admin_second_factor == "optional"


@pytest.mark.parametrize("secrets", ["", "patient=a secret", '["a secret"]', '{"patient": 4711}'])
def test_malformed_secrets_are_rejected_without_revealing_them(secrets: str) -> None:
    settings = AuthSettings.read(ENVIRONMENT | {"PULSETRACK_SERVICE_SECRETS": secrets})
    with pytest.raises(SettingsError, match=r"^PULSETRACK_SERVICE_SECRETS is not") as error:
        settings.parse_service_secrets()
    assert "a secret" not in str(error.value)
    assert "4711" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ADMIN_PASSWORD", "short"), ("KEY_PASSPHRASE", "too short"), ("ACCESS_TOKEN_SECONDS", "901")],
)
def test_invalid_setting_is_rejected_without_revealing_it(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name.lower()) as error:
        AuthSettings.read(ENVIRONMENT | {f"PULSETRACK_{name}": value})
    assert value not in str(error.value).replace("PULSETRACK_NAME", "")
