"""Tests that settings are read from environment variables and files."""

from pathlib import Path

import msgspec
import pytest

from services.common.settings import Settings, SettingsError

ENVIRONMENT = {"PULSETRACK_DATABASE_URL": "postgresql://127.0.0.1/billing", "PULSETRACK_LISTEN": "127.0.0.1:5000"}


def test_setting_is_read_from_the_variable_of_its_name() -> None:
    settings = Settings.read(ENVIRONMENT | {"PULSETRACK_DRAIN_SECONDS": "7", "PULSETRACK_REFLECTION": "off"})
    assert settings.database_url == "postgresql://127.0.0.1/billing"
    assert (settings.listen, settings.drain_seconds, settings.reflection) == ("127.0.0.1:5000", 7, "off")


def test_unset_setting_has_its_default() -> None:
    settings = Settings.read(ENVIRONMENT)
    assert (settings.log_level, settings.drain_seconds, settings.reflection) == ("INFO", 5, "on")


def test_other_variables_are_ignored() -> None:
    assert Settings.read(ENVIRONMENT | {"PULSETRACK_UNKNOWN": "x", "LISTEN": "y"}) == Settings.read(ENVIRONMENT)


def test_settings_are_immutable() -> None:
    settings = Settings.read(ENVIRONMENT)
    with pytest.raises(AttributeError):
        settings.listen = "elsewhere"  # type: ignore[misc]


def test_every_setting_has_a_description() -> None:
    for field in msgspec.inspect.type_info(Settings).fields:  # type: ignore[attr-defined]
        assert field.type.extra_json_schema["description"].endswith(".")


def test_value_from_a_file_is_stripped_of_whitespace(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("postgresql://from/a-file\n")
    settings = Settings.read(ENVIRONMENT | {"PULSETRACK_DATABASE_URL_FILE": str(tmp_path / "secret")})
    assert settings.database_url == "postgresql://from/a-file"


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^PULSETRACK_LISTEN_FILE cannot be read: .*/nothing"):
        Settings.read(ENVIRONMENT | {"PULSETRACK_LISTEN_FILE": str(tmp_path / "nothing")})


def test_binary_file_is_reported_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\xffa secret")
    with pytest.raises(SettingsError, match=r"^PULSETRACK_LISTEN_FILE cannot be read: ") as error:
        Settings.read(ENVIRONMENT | {"PULSETRACK_LISTEN_FILE": str(tmp_path / "secret")})
    assert "a secret" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_CONNECTIONS", "1"),
        ("DATABASE_CONNECTIONS", "many"),
        ("REFLECTION", "yes"),
        ("LOG_LEVEL", "info"),
        ("SLOW_CALL_MS", "0"),
        ("DRAIN_SECONDS", "-1"),
        ("DRAIN_SECONDS", "1.5"),
        ("OTLP_ENDPOINT", "collector"),
        ("OTLP_ENDPOINT", "http://collector:4317"),
    ],
)
def test_invalid_value_is_reported(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"\$\.{name.lower()}`$"):
        Settings.read(ENVIRONMENT | {f"PULSETRACK_{name}": value})


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_missing_setting_is_reported(name: str) -> None:
    environment = {other: value for other, value in ENVIRONMENT.items() if other != name}
    with pytest.raises(SettingsError, match=f"`{name.removeprefix('PULSETRACK_').lower()}`"):
        Settings.read(environment)


def test_empty_file_of_a_setting_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"^PULSETRACK_TLS_KEY_FILE names an empty file: "):
        Settings.read(ENVIRONMENT | {"PULSETRACK_TLS_KEY_FILE": str(tmp_path / "secret")})
