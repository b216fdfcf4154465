"""The check of generated code, as `make check` runs it."""

from pathlib import Path

import pytest

from tools import protos


def test_stale_generated_code_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protos.fetch_third_party()
    stale = protos.generate(tmp_path)
    (stale / "pulsetrack" / "auth" / "v1" / "__init__.py").write_text("")
    (stale / "left_over.py").touch()
    monkeypatch.setattr(protos, "GEN", stale)
    with pytest.raises(protos.ProtosError) as caught:
        protos.build(check=True)
    assert str(caught.value) == (
        "gen/ is out of date (left_over.py, pulsetrack/auth/v1/__init__.py). Run `make proto`."
    )
