"""A replaced registry: SIGHUP or the API, no call dropped; a bad file changes nothing."""

import json
import os
import re
import shutil
import signal
import uuid

import anthropic  # here: it takes seconds, which are not a stream's
import pytest

from harness import MODEL, OPUS, PATIENCE, SOURCE, InBackground, Purser, make_folder, wait_until

OPUS_PRICE = "{input: 5, output: 25, cache_read: 0.50, cache_write_5m: 6.25, cache_write_1h: 10, "
DEARER = "{input: 50, output: 250, cache_read: 5, cache_write_5m: 62.5, cache_write_1h: 100, "


class Registry:
    """A registry file that the server was started with, and what a test makes of it."""

    def __init__(self):
        self.path = make_folder() / "providers.yaml"
        self.original = (SOURCE / "registry" / "providers.yaml").read_text()
        self.write(self.original)

    def write(self, text):
        part = self.path.with_suffix(".part")
        part.write_text(text)
        part.rename(self.path)

    def replace(self, old, new):
        assert old in self.original
        self.write(self.original.replace(old, new))

    def make_dearer(self):
        """Ten times the price; a name of its own each time, so that the fingerprint is a new one."""
        text = self.original.replace(OPUS_PRICE, DEARER)
        assert text != self.original
        self.write(text.replace("display_name: Anthropic API", f"display_name: Anthropic {uuid.uuid4().hex[:8]}"))


@pytest.fixture(scope="module")
def registry():
    registry = Registry()
    yield registry
    shutil.rmtree(registry.path.parent)


@pytest.fixture(scope="module")
def reloading(shared_sim, registry):
    purser = Purser(shared_sim, flags=["--registry", registry.path])
    yield purser
    purser.stop()


@pytest.fixture
def purser(sim, reloading, registry):
    registry.write(registry.original)
    reloading.api("POST", "/admin/registry/reload")
    reloading.mark = reloading.process.log_path.stat().st_size
    return reloading


def fingerprint(purser):
    return purser.health().json()["registry_fingerprint"]


def by_api(purser):
    return purser.api("POST", "/admin/registry/reload")["status"]


def by_command(purser):
    return json.loads(purser.cli("registry", "reload", "--json").stdout)["status"]


def by_signal(purser):
    before, mark = fingerprint(purser), purser.process.log_path.stat().st_size
    os.kill(purser.process.pid, signal.SIGHUP)
    wait_until(lambda: re.search("registry (is|stays|in force)|new registry", purser.process.log(mark)), "the reload")
    return "reloaded" if fingerprint(purser) != before else "unchanged"


def stream(agent, text):
    body = {"model": MODEL, "max_tokens": 400, "messages": [{"role": "user", "content": text}]}
    with agent.anthropic().messages.stream(**body) as s:
        return len(list(s.text_stream)), s.get_final_message()


@pytest.mark.parametrize("how", [by_api, by_signal])
def test_a_call_streams_on_across_a_reload(purser, sim, registry, how):
    agent = purser.new_agent()
    before = fingerprint(purser)
    call = InBackground(stream, agent, f"sim: input=100 output=60 events=60 delay_ms={40 * PATIENCE:.0f}")
    wait_until(lambda: [c for c in sim.calls(outcome="open") if c["events"] > 3], "the stream to run")
    registry.make_dearer()
    assert how(purser) == "reloaded"
    after = fingerprint(purser)
    assert after != before
    (seen,) = sim.calls()
    assert seen["outcome"] == "open", "the reload came after the call: the test shows nothing"
    pieces, message = call.result()
    assert pieces == 60 and message.usage.output_tokens == 60
    (row,) = agent.wait_entries(1)
    # The call keeps the price it was admitted with; the next one has the new one.
    assert (row["state"], row["certainty"], row["registry_fingerprint"]) == ("settled", "exact", before)
    assert row["cost_nano_usd"] == 100 * OPUS["input"] + 60 * OPUS["output"]
    stream(agent, "sim: input=100 output=60")
    second = max(agent.wait_entries(2), key=lambda r: r["opened_ms"])
    assert second["registry_fingerprint"] == after
    assert second["cost_nano_usd"] == 10 * row["cost_nano_usd"]
    assert f"a new registry is in force: {after}" in purser.process.log(purser.mark)
    agent.stop()


def test_a_decision_names_the_registry_it_was_made_with(purser, registry):
    agent = purser.new_agent()
    old = fingerprint(purser)
    registry.make_dearer()
    assert by_command(purser) == "reloaded"
    purser.api("POST", f"/workspaces/{agent.id}/restart", org=agent.org)
    newest, first = purser.api("GET", f"/admin/audit/decisions?workspace={agent.id}")["decisions"]
    assert first["registry_fingerprint"] == old
    assert newest["registry_fingerprint"] == fingerprint(purser) != old
    assert newest["record"]["decision"]["registry_fingerprint"] == fingerprint(purser)
    agent.stop()


@pytest.mark.parametrize("how", [by_api, by_signal, by_command])
def test_the_same_file_again_changes_nothing(purser, how):
    before = fingerprint(purser)
    assert how(purser) == "unchanged"
    assert fingerprint(purser) == before
    assert "the registry is unchanged" in purser.process.log(purser.mark)


def line_of(text, needle):
    return text[:text.index(needle)].count("\n") + 1


@pytest.mark.parametrize("name, new, word", [
    ("an unknown field", "    kind: api-key\n    colour: red\n", "colour"),
    ("an unknown kind", "    kind: api-kez\n", "api-kez"),
    ("no YAML at all", "  }{\n", ""),
])
def test_a_bad_file_is_refused_with_its_line_and_the_old_one_stays(purser, registry, name, new, word):
    agent = purser.new_agent()
    before = fingerprint(purser)
    registry.write(registry.original.replace("    kind: api-key\n", new, 1))
    answer = purser.request("POST", "/admin/registry/reload")
    assert answer.status_code == 400 and answer.json()["code"] == "REGISTRY_INVALID", answer.text
    sentence = answer.json()["error"]
    command = purser.cli("registry", "reload", check=False)
    assert command.returncode == 1 and sentence in command.stderr
    told = re.search(r"providers\.yaml:(\d+)", sentence)
    assert told, sentence
    if word:
        assert word in sentence and int(told[1]) == line_of(registry.path.read_text(), word)
    assert by_signal(purser) == "unchanged"
    assert fingerprint(purser) == before and purser.healthy()
    assert "the registry stays as it was" in purser.process.log(purser.mark)
    assert sentence in purser.process.log(purser.mark)
    stream(agent, "sim: input=10 output=5")
    assert agent.wait_entries(1)[0]["registry_fingerprint"] == before
    agent.stop()


def test_a_file_that_is_gone_is_refused_too(purser, registry):
    before = fingerprint(purser)
    registry.path.unlink()
    answer = purser.request("POST", "/admin/registry/reload")
    assert answer.status_code == 400 and answer.json()["code"] == "REGISTRY_INVALID"
    assert fingerprint(purser) == before


def test_a_provider_that_is_in_the_file_alone_is_offered_derived_gated_and_stripped(purser, registry):
    text = registry.original.replace("providers:\n", """providers:
  - name: brand-new
    display_name: Brand New
    kind: api-key
    auth_env: [BRAND_NEW_API_KEY]
    model_prefix_match: '^brand-new-'
""", 1)
    runtimes = text.index("\nruntimes:\n")
    first_arms = text.index("    providers:\n", runtimes) + len("    providers:\n")
    registry.write(text[:first_arms] + "      - {name: brand-new, models: [brand-new-1]}\n" + text[first_arms:])
    org = purser.new_org()
    made = {"name": "w", "runtime": "claude-code", "model": "brand-new-1", "start": False,
            "secrets": {"BRAND_NEW_API_KEY": "x"}}
    assert purser.request("POST", "/workspaces", made, org=org).json()["code"] == "UNREGISTERED_MODEL_FOR_RUNTIME"
    assert by_api(purser) == "reloaded"
    offered = purser.api("GET", "/admin/llm/offered-models?runtime=claude-code", org=org)
    assert [o["provider"] for o in offered if o["id"] == "brand-new-1"] == ["brand-new"]
    (template,) = [t for t in purser.api("GET", "/templates") if t["runtime"] == "claude-code"]
    assert {"id": "brand-new-1", "provider": "brand-new", "billing_mode": "byok"} in template["registry_models"]
    workspace = purser.api("POST", "/workspaces", made, org=org)["id"]
    told = purser.api("GET", f"/admin/workspaces/{workspace}/llm-billing-mode", org=org)
    assert (told["resolved_mode"], told["provider_selection"]) == ("byok", "brand-new")
    purser.api("PUT", f"/workspaces/{workspace}/model", {"model": MODEL}, org=org)
    plan = purser.api("GET", f"/workspaces/{workspace}/env", org=org)
    assert [r["action"] for r in plan["env"] if r["name"] == "BRAND_NEW_API_KEY"] == ["strip"]
    refused = purser.request("PUT", f"/workspaces/{workspace}/secrets", {"key": "BRAND_NEW_API_KEY", "value": "y"}, org=org)
    assert refused.json()["code"] == "VENDOR_KEY_ON_PLATFORM_MANAGED"


def test_only_the_admin_reloads(purser):
    org = purser.new_org()
    token = purser.api("POST", "/org/tokens", {}, org=org)["auth_token"]
    answer = purser.request("POST", "/admin/registry/reload", token=token)
    assert answer.status_code == 403 and answer.json()["code"] == "WRONG_CREDENTIAL_KIND"
