"""What every test shares."""

import os

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """With SCALEUP_NO_SKIP=1, as in continuous integration, a skipped test fails with its own reason."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("SCALEUP_NO_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but SCALEUP_NO_SKIP is set: {report.longrepr[2]}"
