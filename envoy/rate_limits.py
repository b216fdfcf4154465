"""Rate limits per client address, enforced by Envoy with local token buckets.

IPv6 clients are grouped by /64, the smallest network that a client is assigned.
"""

from envoy.extension import Config, extension
from envoy.target import Rate, Target

CREDENTIALS = (
    "Login",
    "SignUp",
    "RefreshToken",
    "AcceptInvitation",
    "ChangePassword",
    "RequestPasswordReset",
    "ResetPassword",
    "RequestEmailVerification",
    "VerifyEmail",
    "VerifySecondFactor",
    "EnrollSecondFactor",
    "ConfirmSecondFactor",
    "RemoveSecondFactor",
    "IssueClientToken",
)
"""Methods that accept credentials, create accounts or send mail. Each has its own bucket, shared by gRPC and REST."""

REFLECTION_BUCKET = "reflection"
_DEFAULT_BUCKET = "calls"
_KEY = "rate"
_CLIENT = {"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}}
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def rate_limit_filter(target: Target) -> Config:
    """Returns the filter that responds 429 when a bucket is empty. It precedes all expensive filters."""
    rates = target.rates
    buckets = {
        **dict.fromkeys(CREDENTIALS, rates.credentials),
        REFLECTION_BUCKET: rates.reflection,
        _DEFAULT_BUCKET: rates.calls,
    }
    return extension(
        "envoy.filters.http.local_ratelimit",
        "filters.http.local_ratelimit.v3.LocalRateLimit",
        stat_prefix="rate_limits",
        filter_enabled=_ALWAYS,
        filter_enforced=_ALWAYS,
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
        descriptors=[_bucket(name, rate) for name, rate in buckets.items()],
        max_dynamic_descriptors=target.max_connections,  # addresses; the least recently used is evicted
    )


def rate_limits_of(name: str = _DEFAULT_BUCKET) -> Config:
    """Returns the rate limit options of a route that takes tokens from the named bucket."""
    return {
        "rate_limits": [{"actions": [_CLIENT, {"generic_key": {"descriptor_key": _KEY, "descriptor_value": name}}]}]
    }


def _bucket(name: str, rate: Rate) -> Config:
    return {
        "entries": [
            {"key": "masked_remote_address"},  # without a value: one bucket for each address
            {"key": _KEY, "value": name},
        ],
        "token_bucket": {
            "max_tokens": rate.calls,
            "tokens_per_fill": rate.calls,
            "fill_interval": f"{rate.seconds}s",
        },
    }
