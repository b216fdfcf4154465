"""The contents of access tokens (RFC 9068), which auth issues, and the services and the gateway verify."""

ISSUER = "pulsetrack-auth"
USERS_AUDIENCE = "pulsetrack"
SERVICES_AUDIENCE = "pulsetrack-services"
ALGORITHM = "ES256"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - the media type of RFC 9068, section 2.1
SERVICE_ROLE = "SERVICE"
CLIENT_ROLE = "CLIENT"
"""The role of machine clients, whose tokens have the claims `client_id` and `scope`."""
MAX_TOKEN_SECONDS = 900
"""The maximum lifetime of a token. A token with a larger difference between `exp` and `iat` is rejected."""
MAX_EXTERNAL_TOKEN_SECONDS = 86_400
"""The maximum lifetime of a token of an external issuer."""
CLOCK_SKEW_SECONDS = 30
"""The tolerance for a token's `iat` and `nbf` in the future. There is none for `exp`."""
