"""The machines on which `make up` can work."""

import platform

import pytest

from tools import environment


@pytest.mark.parametrize(
    ("system", "machine", "libc", "macos", "missing"),
    [
        ("Linux", "x86_64", ("glibc", "2.31"), "", ""),
        ("Linux", "aarch64", ("glibc", "2.41"), "", ""),
        ("Linux", "x86_64", ("glibc", "2.28"), "", "There is no Envoy for a glibc older than 2.31"),
        ("Linux", "x86_64", ("", ""), "", "There is no Envoy for a Linux without glibc"),
        ("Linux", "riscv64", ("glibc", "2.41"), "", "There is no Envoy for Linux on riscv64"),
        ("Darwin", "arm64", ("", ""), "15.1", ""),
        ("Darwin", "arm64", ("", ""), "14.7.2", "There is no Envoy for a macOS older than 15"),
        ("Darwin", "x86_64", ("", ""), "15.1", "There is no Envoy for Darwin on x86_64"),
    ],
)
def test_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, *, system: str, machine: str, libc: tuple[str, str], macos: str, missing: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    monkeypatch.setattr(platform, "mac_ver", lambda: (macos, ("", "", ""), machine))
    assert environment.missing_here() == missing
