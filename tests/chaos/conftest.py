"""The long forms of what must hold whatever dies when; on the integration tests' harness."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from harness import Postgres, remove_traces  # noqa: E402


def pytest_sessionfinish(exitstatus):
    """After a failure everything stays to be looked at; but nothing goes on running."""
    for server in list(Postgres.running):
        server.kill()
    if exitstatus == pytest.ExitCode.OK:
        remove_traces()
