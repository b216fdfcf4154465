"""TLS to the services, in which the gateway has a certificate too."""

from dataclasses import dataclass, field
from typing import Literal

from envoy.extension import Config, to_any


@dataclass(frozen=True)
class UpstreamTls:
    """Where Envoy reads the gateway's certificate, its key, and the authorities that issue those of the services.

    Either files or environment variables, in PEM format.
    """

    certificate: str
    key: str
    authorities: str
    source: Literal["filename", "environment_variable"] = field(default="filename", kw_only=True)

    def socket(self, service: str) -> Config:
        """Returns the transport socket of a cluster. The services' certificates have their names."""
        return {
            "name": "envoy.transport_sockets.tls",
            "typed_config": to_any(
                "transport_sockets.tls.v3.UpstreamTlsContext",
                sni=service,
                common_tls_context={
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_3",
                        "tls_maximum_protocol_version": "TLSv1_3",  # the default of clients is 1.2
                    },
                    "alpn_protocols": ["h2"],
                    "tls_certificates": [
                        {"certificate_chain": {self.source: self.certificate}, "private_key": {self.source: self.key}}
                    ],
                    "validation_context": {
                        "trusted_ca": {self.source: self.authorities},
                        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": service}}],
                    },
                },
            ),
        }
