"""`purser up --demo --once`: the whole product in one command, without any vendor key."""

import json

from harness import OPUS, free_port, make_folder, run_up

KEYS = {"workspace_id", "resolved_mode", "source", "provider", "model", "calls", "input_tokens", "output_tokens",
        "cost_nano_usd", "registry_fingerprint"}


def run_demo(state):
    done = run_up("--demo", "--once", "--state", state, "--listen", f"127.0.0.1:{free_port()}", seconds=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done, json.loads(done.stdout.strip().splitlines()[-1])


def test_demo_answers_accounts_and_says_so_in_its_last_line():
    done, told = run_demo(make_folder() / "state")
    assert set(told) == KEYS
    assert (told["resolved_mode"], told["source"], told["provider"]) == ("platform_managed", "derived_provider", "platform")
    assert told["model"] == "anthropic/claude-opus-4-7" and told["calls"] == 1
    assert told["input_tokens"] > 0 and told["output_tokens"] == 10
    assert told["cost_nano_usd"] == told["input_tokens"] * OPUS["input"] + told["output_tokens"] * OPUS["output"]
    assert len(told["registry_fingerprint"]) == 64
    assert "Hello! I am the built-in vendor" in done.stdout


def test_demo_can_be_run_again_on_the_same_state():
    state = make_folder() / "state"
    _, first = run_demo(state)
    _, again = run_demo(state)
    assert again["workspace_id"] == first["workspace_id"]
    assert again["calls"] >= 1


def test_demo_takes_no_credential_from_the_callers_environment():
    state = make_folder() / "state"
    done = run_up("--demo", "--once", "--state", state, "--listen", f"127.0.0.1:{free_port()}", seconds=60,
                  env={"MOLECULE_LLM_BILLING_MODE": "byok", "ANTHROPIC_API_KEY": "not-a-key-of-anybody",
                       "OPENAI_BASE_URL": "http://127.0.0.1:1/"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1])["resolved_mode"] == "platform_managed"
    assert "not-a-key-of-anybody" not in done.stdout + done.stderr
