"""Email addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.emails import INVALID, build_key, find_violation

VALID = [
    "ana@clinic.test",
    "a@b",
    "Ana.Silva+x@Clinic.Test",
    "user@m\u00fcnchen.de",
    "user@xn--mnchen-3ya.de",
    "user@\u4f8b\u3048.\u30c6\u30b9\u30c8",
    "user@\u0645\u062b\u0627\u0644.\u0625\u062e\u062a\u0628\u0627\u0631",
    f"{'a' * 64}@{'b' * 63}.test",
]
WRONG = [
    "",
    "ana",
    "@clinic.test",
    "ana@",
    "ana@@clinic.test",
    "ana silva@clinic.test",
    '"ana"@clinic.test',
    "ana@clinic..test",
    "ana@-clinic.test",
    "ana@clinic.test.",
    "ana@clinic_.test",
    "ana@clinic.test\n",
    "jos\u00e9@clinic.test",
    "ana@\u2603.test",
    "ana@m\u00fcn chen.de",
    "ana@m\u00fcnchen..de",
    "ana@" + "\u00fc" * 64 + ".de",
    "ana@" + "\u00fc." * 200 + "de",
    f"{'a' * 200}@{'b' * 60}.test",
]
EQUAL = [
    ("user@m\u00fcnchen.de", "user@xn--mnchen-3ya.de"),
    ("user@m\u00fcnchen.de", "User@M\u00dcNCHEN.DE"),
    ("user@m\u00fcnchen.de", "user@mu\u0308nchen.de"),
    ("user@m\u00fcnchen.de", "USER@XN--MNCHEN-3YA.DE"),
    ("user@m\u00fcnchen.de", "user@\uff4d\u00fcnchen\u3002de"),
    ("ana@clinic.test", " Ana@Clinic.Test\u00a0"),
]


@pytest.mark.parametrize("address", VALID, ids=ascii)
def test_address_is_accepted(address: str) -> None:
    assert find_violation(address) is None


@pytest.mark.parametrize("address", WRONG, ids=ascii)
def test_text_that_is_not_an_address_is_rejected(address: str) -> None:
    assert find_violation(address) == INVALID


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=ascii)
def test_spellings_of_an_address_have_equal_keys(one: str, other: str) -> None:
    assert build_key(one) == build_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("a@stra\u00dfe.de", "a@strasse.de"), ("a@m\u00fcnchen.de", "a@munchen.de"), ("a@b.c", "a.b@c")]
)
def test_other_addresses_have_other_keys(one: str, other: str) -> None:
    assert build_key(one) != build_key(other)


@given(st.text(max_size=40) | st.text("@.-x\u00fc\u3002\u200d", max_size=12))
def test_every_text_has_a_key_that_is_its_own_key(text: str) -> None:
    assert build_key(build_key(text)) == build_key(text)


@given(st.emails())
def test_key_of_an_ascii_address_is_the_address_in_lower_case(address: str) -> None:
    assert build_key(address) == address.lower()
