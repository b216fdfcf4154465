"""How often a client address may call: buckets of the gateway's own, one for each address.

An IPv6 address counts by its /64, the least that a client is given.
"""

from envoy.extension import Config, extension
from envoy.target import Rate, Target

CREDENTIALS = ("Login", "SignUp", "RefreshToken")
"""The methods by which passwords and tokens are guessed, and accounts made. Each has a bucket for both its doors."""

REFLECTION_BUCKET = "reflection"
_ALL_OTHERS = "calls"
_KEY = "rate"
_CLIENT = {"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}}
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def rate_limit_filter(target: Target) -> Config:
    """Returns the filter that answers 429 when a bucket is empty. It stands before whatever costs time."""
    rates = target.rates
    buckets = {
        **dict.fromkeys(CREDENTIALS, rates.credentials),
        REFLECTION_BUCKET: rates.reflection,
        _ALL_OTHERS: rates.calls,
    }
    return extension(
        "envoy.filters.http.local_ratelimit",
        "filters.http.local_ratelimit.v3.LocalRateLimit",
        stat_prefix="rate_limits",
        filter_enabled=_ALWAYS,
        filter_enforced=_ALWAYS,
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
        descriptors=[_bucket(name, rate) for name, rate in buckets.items()],
        max_dynamic_descriptors=target.max_connections,  # addresses; the one that called longest ago is forgotten
    )


def rate_limits_of(name: str = _ALL_OTHERS) -> Config:
    """Returns what says on a route, or by default on all others, from which bucket a call takes."""
    return {
        "rate_limits": [{"actions": [_CLIENT, {"generic_key": {"descriptor_key": _KEY, "descriptor_value": name}}]}]
    }


def _bucket(name: str, rate: Rate) -> Config:
    return {
        "entries": [
            {"key": "masked_remote_address"},
            {"key": _KEY, "value": name},
        ],  # an address without a value: each one
        "token_bucket": {
            "max_tokens": rate.calls,
            "tokens_per_fill": rate.calls,
            "fill_interval": f"{rate.seconds}s",
        },
    }
