"""The platforms that `make up` supports."""

import platform

import pytest

from tools import environment


@pytest.mark.parametrize(
    ("system", "machine", "libc", "macos", "problem"),
    [
        ("Linux", "x86_64", ("glibc", "2.31"), "", ""),
        ("Linux", "aarch64", ("glibc", "2.41"), "", ""),
        ("Linux", "x86_64", ("glibc", "2.28"), "", "Envoy does not support glibc older than 2.31"),
        ("Linux", "x86_64", ("", ""), "", "Envoy does not support Linux without glibc"),
        ("Linux", "riscv64", ("glibc", "2.41"), "", "Envoy does not support Linux on riscv64"),
        ("Darwin", "arm64", ("", ""), "15.1", ""),
        ("Darwin", "arm64", ("", ""), "14.7.2", "Envoy does not support macOS older than 15"),
        ("Darwin", "x86_64", ("", ""), "15.1", "Envoy does not support Darwin on x86_64"),
    ],
)
def test_unsupported_platform_is_named(
    monkeypatch: pytest.MonkeyPatch, *, system: str, machine: str, libc: tuple[str, str], macos: str, problem: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    monkeypatch.setattr(platform, "mac_ver", lambda: (macos, ("", "", ""), machine))
    assert environment.find_platform_problem() == problem
