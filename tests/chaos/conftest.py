"""The long tests stand on the integration tests' harness."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from harness import remove_traces  # noqa: E402


def pytest_sessionfinish(exitstatus):
    """After a failure everything stays to be looked at."""
    if exitstatus == 0:
        remove_traces()
