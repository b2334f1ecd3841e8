"""What all tests share: nobody's telemetry but the test's own, and no environment of the machine's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ell_otel.telemetry import guard, providers

for _name in [
    name for name in os.environ if name.startswith(("OTEL_", "ELL_OTEL_", "ANTHROPIC_")) and name != "ELL_OTEL_NO_SKIPS"
]:
    del os.environ[_name]

# Seconds say more about the machine than about us; and what fails, fails for everybody. `make faults` draws anew.
_TIMELESS = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", **_TIMELESS, derandomize=True, database=None)
settings.register_profile("new", **_TIMELESS)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The ``.ell`` folder of this test. The pipeline made during a test ends with it."""
    directory = tmp_path / ".ell"
    monkeypatch.setenv("ELL_OTEL_DIR", str(directory))
    guard.raise_faults(True)
    yield directory
    providers.reset()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """With ``ELL_OTEL_NO_SKIPS`` set, as in CI, a skip is a failure: the machine was to have everything."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("ELL_OTEL_NO_SKIPS"):
        report.outcome = "failed"
