"""The real agent programs, as workspaces: fixtures around the harness of the integration tests."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from harness import NODE_MODULES, Purser, Sim, new_key, remove_traces  # noqa: E402

PROGRAMS = {
    "claude": NODE_MODULES / "@anthropic-ai/claude-code-linux-x64/claude",
    "codex": NODE_MODULES / "@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
}
PLATFORM_KEYS = ("anthropic-api", "openai-api")


def pytest_sessionfinish(exitstatus):
    if exitstatus == pytest.ExitCode.OK:
        remove_traces()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows what the servers logged during the test."""
    outcome = yield
    report = outcome.get_result()
    purser = item.funcargs.get("purser") if report.when == "call" and report.failed else None
    if purser is not None:
        report.sections.append(("log of purser", purser.process.log(purser.mark)[-20000:]))


@pytest.fixture(scope="session")
def programs():
    """The agents' programs where the agents' users can reach them, also when this clone is under /root."""
    for path in PROGRAMS.values():
        if not path.exists():
            pytest.skip(f"tools/setup has not installed {path.name}")
    if all(folder.stat().st_mode & 0o001 for path in PROGRAMS.values() for folder in path.parents):
        yield PROGRAMS
        return
    with tempfile.TemporaryDirectory(prefix="purser-test-") as folder:
        os.chmod(folder, 0o711)
        yield {name: Path(shutil.copy(path, folder)) for name, path in PROGRAMS.items()}


@pytest.fixture(scope="session")
def vendor():
    """Every vendor at once: it knows the platform's keys and those of one customer."""
    sim = Sim({name: new_key() for name in (*PLATFORM_KEYS, "customer", "second", "login")})
    yield sim
    sim.stop()


@pytest.fixture(scope="session")
def registry(vendor, tmp_path_factory):
    """The built-in registry with OpenAI's two endpoints at the fake vendor: Codex has no other way there."""
    from harness import PROGRAM
    import subprocess

    text = subprocess.run([PROGRAM, "registry", "show", "--source"], text=True, capture_output=True, check=True).stdout
    for url in ("https://api.openai.com/v1", "https://chatgpt.com/backend-api/codex"):
        assert url in text
        text = text.replace(url, vendor.url + "/" + url.split("/", 3)[3])
    path = tmp_path_factory.mktemp("registry") / "providers.yaml"
    path.write_text(text)
    return path


@pytest.fixture(scope="session")
def shared_purser(vendor, registry):
    purser = Purser(vendor, keys={name: vendor.keys[name] for name in PLATFORM_KEYS}, flags=["--registry", registry])
    yield purser
    purser.stop()


@pytest.fixture
def purser(shared_purser, vendor):
    vendor.reset()
    shared_purser.mark = shared_purser.process.log_path.stat().st_size
    return shared_purser
