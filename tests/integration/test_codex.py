"""The Codex CLI, as it comes from its package, with a provider of its own that is the gateway."""

import json
import subprocess

import pytest

from harness import NODE_MODULES, PATIENCE, clean_environment, make_folder, wait_until

GPT = "openai/gpt-5.4"
VENDOR_KEYS = ["openai-api"]
CODEX = next(NODE_MODULES.glob("@openai/codex-*/vendor/*/bin/codex"), None)
pytestmark = pytest.mark.skipif(CODEX is None, reason="tests/setup has not installed the CLI")


@pytest.fixture
def agent(purser, sim):
    agent = purser.new_agent(model=GPT, runtime="codex")
    yield agent
    agent.stop()


def run_codex(agent, prompt):
    """One turn, with nothing but a config.toml and the token; the finished process."""
    home = make_folder()
    (home / "config.toml").write_text(f'''
model = "{GPT}"
model_provider = "purser"
web_search = "disabled" # the vendor runs and bills it: it has no price here
[model_providers.purser]
name = "purser"
base_url = "{agent.env["MOLECULE_LLM_BASE_URL"]}"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
''')
    return subprocess.run([CODEX, "exec", "--skip-git-repo-check", "--json", prompt], text=True, capture_output=True, cwd=home,
                          stdin=subprocess.DEVNULL, timeout=60 * PATIENCE,
                          env=clean_environment(CODEX_HOME=str(home), HOME=str(home), OPENAI_API_KEY=agent.token))


def test_codex_completes_a_turn_that_is_accounted_exactly(agent, sim):
    done = run_codex(agent, "sim: input=1234 output=77 cache_read=5 text=steered")
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0 and "steered" in done.stdout, done.stdout + done.stderr
    (usage,) = [e["usage"] for e in events if e["type"] == "turn.completed"]
    assert (usage["input_tokens"], usage["cached_input_tokens"], usage["output_tokens"]) == (1239, 5, 77)
    (row,) = agent.wait_entries(1)
    assert (row["state"], row["certainty"], row["input_tokens"], row["output_tokens"]) == ("settled", "exact", 1234, 77)
    (call,) = sim.calls(kind="responses")
    assert call["stream"] and call["outcome"] == "completed"


def test_codex_stops_at_once_when_the_budget_is_used_up(agent, sim, purser):
    purser.api("PATCH", f"/workspaces/{agent.id}/budget", {"budget_limits": {"daily": 1}}, org=agent.org)
    done = run_codex(agent, "hi")
    assert done.returncode != 0
    assert "quota" in (done.stdout + done.stderr).lower(), done.stdout + done.stderr
    assert sim.calls(kind="responses") == [] and agent.entries() == []
    refused = wait_until(lambda: [line for line in (purser.state / "access.log").read_text().splitlines()
                                  if "/responses 429 " in line], "the log of the call")
    assert len(refused) == 1
