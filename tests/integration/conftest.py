"""Fixtures. One purser per module where tests only make calls; tests that break it make their own."""

import signal
import time

import pytest

from harness import PATIENCE, Postgres, Purser, Sim, new_key, remove_traces, wait_until


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than ten seconds")


def pytest_sessionfinish(exitstatus):
    """After a failure everything stays to be looked at; but nothing goes on running."""
    for server in list(Postgres.running):
        server.kill()
    if exitstatus == pytest.ExitCode.OK:
        remove_traces()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows what the servers logged during the test."""
    outcome = yield
    report = outcome.get_result()
    if report.when != "call" or not report.failed:
        return
    for name, value in item.funcargs.items():
        if isinstance(value, Purser) and value.process is not None and value.process.log_path.exists():
            report.sections.append((f"log of {name}", value.process.log(value.mark)[-20000:]))


@pytest.fixture(autouse=True)
def bounded():
    """A test that waits for what never comes is a failure, and not the end of the whole run."""
    def too_long(*_):
        raise TimeoutError("no test takes as long")
    signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, 240 * PATIENCE, 10)  # again, until it no longer waits for what it left behind
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.fixture(scope="module")
def one_day():
    """For tests that count by the day or the month (UTC): they do not begin right before the end of one."""
    wait_until(lambda: time.time() % 86400 < 86400 - 60 * PATIENCE, "the new day", 61)


@pytest.fixture(scope="module")
def shared_sim(request):
    """The module's own VENDOR_KEYS, if it has some, say which providers' keys the fake vendor knows."""
    sim = Sim({name: new_key() for name in getattr(request.module, "VENDOR_KEYS", ["anthropic-api"])})
    yield sim
    sim.stop()


@pytest.fixture(scope="module")
def shared_purser(shared_sim):
    purser = Purser(shared_sim)
    yield purser
    purser.stop()


@pytest.fixture
def sim(shared_sim):
    """The module's sim with nothing remembered."""
    shared_sim.reset()
    return shared_sim


@pytest.fixture
def purser(sim, shared_purser):
    """The module's purser; its log is shown from here on when the test fails."""
    shared_purser.mark = shared_purser.process.log_path.stat().st_size
    return shared_purser


@pytest.fixture
def own_sim():
    sim = Sim({"anthropic-api": new_key()})
    yield sim
    sim.stop()


@pytest.fixture
def own_purser(own_sim):
    """A purser that the test may kill parts of."""
    purser = Purser(own_sim)
    yield purser
    purser.stop()
