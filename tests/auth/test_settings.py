"""The settings of auth."""

import pytest

from services.auth.__main__ import AuthSettings
from services.auth.mail_settings import MailConfig
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


def read_mail(url: str, **others: str) -> MailConfig | None:
    settings = {"SMTP_URL": url, "MAIL_FROM": "no-reply@clinic.test"} | others
    environment = ENVIRONMENT | {f"PULSETRACK_{name}": value for name, value in settings.items()}
    return AuthSettings.read(environment).parse_mail_config()


def test_verified_addresses_need_a_mail_server() -> None:
    with pytest.raises(SettingsError, match="PULSETRACK_VERIFIED_EMAIL=required needs PULSETRACK_SMTP_URL"):
        read_mail("", VERIFIED_EMAIL="required")
    assert read_mail("smtp://mail.test", VERIFIED_EMAIL="required")


def test_no_mail_is_sent_by_default() -> None:
    assert AuthSettings.read(ENVIRONMENT).parse_mail_config() is None
    assert read_mail("off", MAIL_FROM="") is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.test", ("mail.test", 587, False, "", "")),
        ("smtps://mail.test/", ("mail.test", 465, True, "", "")),
        ("smtp://[::1]:25", ("::1", 25, False, "", "")),
        ("smtp://a%40b:p%2Fw@mail.test:2525", ("mail.test", 2525, False, "a@b", "p/w")),
    ],
)
def test_mail_server_is_a_url(url: str, expected: tuple[str, int, bool, str, str]) -> None:
    config = read_mail(url)
    assert config
    assert (config.host, config.port, config.uses_tls, config.username, config.password) == expected


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("Die Klinik <post@münchen.example>", "Die Klinik <post@xn--mnchen-3ya.example>"),
        ('"Clinic, Inc." <post@clinic.test>', '"Clinic, Inc." <post@clinic.test>'),
        ("<post@clinic.test>", "post@clinic.test"),
    ],
)
def test_sender_may_have_a_name(sender: str, expected: str) -> None:
    config = read_mail("smtp://mail.test", MAIL_FROM=sender)
    assert config
    assert str(config.sender) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("SMTP_URL", url)
            for url in (
                "mail.test",
                "http://mail.test",
                "smtp://",
                "smtp://:sesame@mail.test",
                "smtp://user@mail.test",
                "smtp://user:sesame@mail.test:port",
                "smtp://user:sesame@mail.test/inbox",
                "smtp://user:sesame@mail.test?tls=off",
            )
        ),
        *(("MAIL_FROM", text) for text in ("", "no-reply", "A <a@x.test>, b@x.test", "a@x.test\nBcc: b@x.test")),
        *(
            ("PUBLIC_URL", text)
            for text in ("clinic.test", "javascript:alert(1)", "https://x.test/?a", "https://x.test/#a", "https://[")
        ),
    ],
    ids=ascii,
)
def test_invalid_mail_setting_is_rejected_without_revealing_a_password(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^PULSETRACK_{name} is not") as error:
        read_mail(**({"url": "smtp://mail.test"} | {"url" if name == "SMTP_URL" else name: value}))
    assert "sesame" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ADMIN_PASSWORD", "short"), ("KEY_PASSPHRASE", "too short"), ("ACCESS_TOKEN_SECONDS", "901")],
)
def test_invalid_setting_is_rejected_without_revealing_it(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name.lower()) as error:
        AuthSettings.read(ENVIRONMENT | {f"PULSETRACK_{name}": value})
    assert value not in str(error.value).replace("PULSETRACK_NAME", "")
