"""The settings of the external OpenID Connect issuer."""

from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from gen.pulsetrack.auth.v1 import ExternalIssuer
from services.common.settings import SettingsError

OidcIssuer = Annotated[
    str,
    Meta(
        description="URL of an OpenID Connect issuer whose tokens are accepted as those of users, or empty. The "
        "gateway needs it too."
    ),
]
OidcAudience = Annotated[str, Meta(description="Audience (`aud`) of the tokens of the external issuer.")]
OidcRoleClaim = Annotated[
    str,
    Meta(
        description="Claim from which the role of an external user derives: a string or a list of strings. Dots "
        "separate the names of nested claims: `realm_access.roles`."
    ),
]
OidcAdminValues = Annotated[
    str, Meta(description="Comma-separated values of the claim that grant the role ADMIN to an external user.")
]
OidcUserValues = Annotated[
    str, Meta(description="Comma-separated values of the claim that grant the role USER to an external user.")
]

_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


def parse_external_issuer(
    issuer: str, audience: str, role_claim: str, admin_values: str, user_values: str
) -> ExternalIssuer | None:
    """Returns the issuer without its keys, or None if none is configured. Raises SettingsError."""
    if not issuer:
        return None
    if not is_secure_url(issuer):
        raise SettingsError("PULSETRACK_OIDC_ISSUER must be a URL that begins with https://")
    admins, users = _split(admin_values), _split(user_values)
    if not audience or not role_claim or not (admins or users):
        raise SettingsError(
            "PULSETRACK_OIDC_ISSUER also needs PULSETRACK_OIDC_AUDIENCE, PULSETRACK_OIDC_ROLE_CLAIM, and values that "
            "grant a role: PULSETRACK_OIDC_ADMIN_VALUES or PULSETRACK_OIDC_USER_VALUES"
        )
    return ExternalIssuer(issuer, audience, role_claim, admin_values=admins, user_values=users)


def is_secure_url(url: str) -> bool:
    """Returns whether a URL uses https, or http to this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_local = parts.scheme == "http" and parts.hostname in _LOCAL_HOSTS
    return bool(parts.hostname) and (parts.scheme == "https" or is_local)


def _split(values: str) -> list[str]:
    return [value for each in values.split(",") if (value := each.strip())]
