"""The Claude Code CLI, as it comes from its package, is the workspace's own command."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from harness import CLAUDE, MODEL, VENDOR_MODEL, opus_cost, wait_until

pytestmark = pytest.mark.skipif(not CLAUDE.exists(), reason="tests/setup has not installed the CLI")


@pytest.fixture(scope="module")
def claude():
    """The CLI where the agents' users can reach it, also when this clone is under /root."""
    if all(folder.stat().st_mode & 0o001 for folder in CLAUDE.parents):
        yield CLAUDE
        return
    with tempfile.TemporaryDirectory(prefix="purser-test-") as folder:
        os.chmod(folder, 0o711)
        yield Path(shutil.copy(CLAUDE, folder))


def run_cli(claude, purser, prompt):
    """Starts it with nothing but what purser gives an agent; returns what it wrote when it ended."""
    script = f'"{claude}" -p "$0" --output-format json > out.part 2> err; echo $? > code; mv out.part out; sleep 600'
    workspace, org = purser.new_workspace(["/bin/sh", "-c", 'cd "$HOME"; ' + script, prompt])
    home = wait_until(lambda: purser.home(workspace), "the agent's home")
    wait_until(lambda: (home / "out").exists(), "the CLI to end", 60)
    assert (home / "code").read_text().strip() == "0", (home / "out").read_text() + (home / "err").read_text()
    return workspace, org, json.loads((home / "out").read_text())


def test_claude_code_completes_a_streamed_call_that_is_accounted_exactly(claude, purser, sim):
    workspace, org, told = run_cli(claude, purser, "Reply with exactly the word PINEAPPLE")
    assert told["result"] == "PINEAPPLE" and told["is_error"] is False

    truth = sim.calls(model=VENDOR_MODEL)
    assert truth and all(c["outcome"] == "completed" and c["stream"] for c in truth)
    wait_until(lambda: purser.api("GET", f"/workspaces/{workspace}/usage", org=org)["calls"] == len(truth), "the rows")
    usage = purser.api("GET", f"/workspaces/{workspace}/usage", org=org)
    shown = json.loads(purser.cli("usage", "--org", org, "--json", workspace).stdout)
    for sums in (usage, shown):
        assert sums["input_tokens"] == sum(c["usage"]["input"] for c in truth)
        assert sums["output_tokens"] == sum(c["usage"]["output"] for c in truth)
        assert sums["cost_nano_usd"] == sum(opus_cost(c["usage"]) for c in truth)
    assert all(row["model_asked"] == MODEL for row in usage["entries"])
    purser.api("POST", f"/workspaces/{workspace}/stop", org=org)


def test_claude_code_believes_the_cost_that_the_ledger_has(claude, purser, sim):
    workspace, org, told = run_cli(claude, purser, "sim: input=1234 output=77 cache_read=5 text=steered")
    assert told["result"] == "steered"
    assert told["usage"]["input_tokens"] == 1234 and told["usage"]["output_tokens"] == 77
    (row,) = wait_until(lambda: purser.api("GET", f"/workspaces/{workspace}/usage", org=org)["entries"], "the row")
    assert row["cost_nano_usd"] == 1234 * 5_000 + 77 * 25_000 + 5 * 500
    purser.api("POST", f"/workspaces/{workspace}/stop", org=org)


def test_claude_code_stops_at_once_with_the_text_when_the_budget_is_used_up(claude, purser, sim):
    script = f'until [ -e "$HOME/go" ]; do sleep 0.1; done; "{claude}" -p hi > out.part 2>&1; echo $? > code; mv out.part out; sleep 600'
    workspace, org = purser.new_workspace(["/bin/sh", "-c", 'cd "$HOME"; ' + script])
    home = wait_until(lambda: purser.home(workspace), "the agent's home")
    purser.api("PATCH", f"/workspaces/{workspace}/budget", {"budget_limits": {"daily": 1}}, org=org)
    (home / "go").touch()
    wait_until(lambda: (home / "out").exists(), "the CLI to end", 60)
    assert (home / "code").read_text().strip() != "0" and "budget" in (home / "out").read_text()
    assert sim.calls(model=VENDOR_MODEL) == []
    refused = wait_until(lambda: [line for line in (purser.state / "access.log").read_text().splitlines()
                                  if "/v1/messages 402 " in line], "the log of the call")
    assert len(refused) == 1
    purser.api("POST", f"/workspaces/{workspace}/stop", org=org)
