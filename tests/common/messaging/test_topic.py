"""The addresses of Kafka servers, with TLS and without."""

import socket
from contextlib import closing

import pytest

from services.common.messaging.topic import Topic
from services.common.settings import SettingsError
from services.patient.__main__ import PatientSettings

_TLS_HANDSHAKE, _KAFKA_REQUEST = b"\x16", b"\0"


@pytest.mark.parametrize(("scheme", "first"), [("ssl://", _TLS_HANDSHAKE), ("", _KAFKA_REQUEST)])
def test_tls_is_used_only_for_ssl_addresses(scheme: str, first: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker:
        broker.settimeout(30)
        topic = Topic(f"{scheme}127.0.0.1:{broker.getsockname()[1]}", "any")
        with closing(broker.accept()[0]) as connection:
            connection.settimeout(30)
            assert connection.recv(1) == first
        del topic


@pytest.mark.parametrize(
    "servers", ["https://kafka:9094", "ssl://", "kafka:9092/topic", "sasl_ssl://kafka:9094", "ssl://a:b@kafka:9094"]
)
def test_invalid_server_addresses_are_rejected(servers: str) -> None:
    environment = {
        "PULSETRACK_DATABASE_URL": "postgresql://127.0.0.1/patient",
        "PULSETRACK_LISTEN": "127.0.0.1:5000",
        "PULSETRACK_AUTH": "127.0.0.1:5001",
        "PULSETRACK_BILLING": "127.0.0.1:5002",
        "PULSETRACK_SERVICE_SECRET": "secret",
        "PULSETRACK_KAFKA": servers,
    }
    with pytest.raises(SettingsError, match=r"\$\.kafka`$"):
        PatientSettings.read(environment)
