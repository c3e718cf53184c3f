"""Prometheus metrics: on a listener of their own, from booked rows, with no secret and no flood of series."""

import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness import MODEL, PATIENCE, Purser, free_port, wait_until

# Without the "_total" of a counter, as Prometheus sees them.
FAMILIES = {
    "purser_calls": "counter", "purser_tokens": "counter", "purser_web_searches": "counter",
    "purser_cost_usd": "counter", "purser_call_first_byte_seconds": "histogram", "purser_call_seconds": "histogram",
    "purser_recorder_slots": "gauge", "purser_recorder_used": "gauge", "purser_recorder_waiting": "gauge",
    "purser_drain_lag_seconds": "gauge", "purser_drain_booked": "counter", "purser_drain_recovered": "counter",
    "purser_drain_damaged": "counter", "purser_store_failing": "gauge", "purser_policy_age_seconds": "gauge",
    "purser_gateway_up": "gauge", "purser_budget_fill_ratio": "gauge", "purser_registry_info": "gauge",
}
LINE = re.compile(r'^([a-z_]+)(?:\{(.*)\})? (-?[0-9.]+|\+Inf)$')


pytestmark = pytest.mark.usefixtures("one_day")


@pytest.fixture(scope="module")
def shared_purser(shared_sim):
    purser = Purser(shared_sim, flags=["--metrics-listen", f"127.0.0.1:{free_port()}"])
    yield purser
    purser.stop()


def scrape(purser):
    answer = httpx.get(f"http://{purser.flags[-1]}/metrics", verify=False)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return answer.text


def numbers(text):
    """{(name, labels): value}; every line must be of the format, with HELP and TYPE before its name."""
    found, typed = {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            typed.add(line.split()[2])
        elif not line.startswith("# HELP "):
            match = LINE.match(line)
            assert match, line
            assert re.sub(r"_(bucket|sum|count)$", "", match[1]) in typed or match[1] in typed, line
            found[match[1], match[2] or ""] = float(match[3])
    return found


def total(found, name, **labels):
    return sum(v for (n, text), v in found.items()
               if n == name and all(f'{k}="{label}"' in text for k, label in labels.items()))


def ask(agent, text="hi", **more):
    return agent.post({"model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": text}]} | more)


def test_what_is_booked_is_counted(purser, sim):
    agent = purser.new_agent(org=purser.new_org())
    before = numbers(scrape(purser))
    ask(agent, "sim: input=100 output=5")
    ask(agent, "sim: no_usage=1")
    ask(agent, "sim: status=500")
    rows = agent.wait_entries(3)

    def grown(name, **labels):
        return total(after, name, **labels) - total(before, name, **labels)

    def counted():
        nonlocal after
        after = numbers(scrape(purser))
        return grown("purser_calls_total") >= 3
    after = None
    wait_until(counted, "the three rows to be counted")
    assert grown("purser_calls_total", state="settled", certainty="exact") == 1
    assert grown("purser_calls_total", certainty="bound") == 1
    assert grown("purser_calls_total", state="failed") == 1
    assert grown("purser_tokens_total", kind="output") == sum(r["output_tokens"] for r in rows)
    assert grown("purser_cost_usd_total") == pytest.approx(sum(r["cost_nano_usd"] for r in rows) / 1e9)
    assert grown("purser_call_seconds_count") == grown('purser_call_seconds_bucket', le="+Inf") == 3
    assert 0 <= grown("purser_call_first_byte_seconds_sum") < 10
    agent.stop()


def test_prometheus_own_parser_finds_every_family(purser):
    agent = purser.new_agent(org=purser.new_org())
    ask(agent)
    agent.wait_entries(1)
    families = {f.name: f for f in text_string_to_metric_families(scrape(purser))}
    for name, kind in FAMILIES.items():
        assert (families[name].type, bool(families[name].documentation)) == (kind, True), name
        assert families[name].samples, name
    for f in families.values():
        seen = [(s.name, tuple(sorted(s.labels.items()))) for s in f.samples]
        assert len(seen) == len(set(seen)), f.name
    agent.stop()


def test_the_state_of_the_parts_is_shown(purser):
    agent = purser.new_agent(org=purser.new_org())
    ask(agent, "sim: input=100000 output=8")
    cost = agent.wait_entries(1)[0]["cost_nano_usd"]
    # A slot is free again a moment after its row can be seen.
    found = wait_until(lambda: (n := numbers(scrape(purser)))["purser_recorder_used", ""] == 0 and n, "the slot to be free")
    assert found["purser_recorder_slots", ""] == 65536
    assert found["purser_drain_lag_seconds", ""] == 0 and found["purser_store_failing", ""] == 0
    assert found["purser_policy_age_seconds", ""] < 5 * PATIENCE and found["purser_gateway_up", ""] == 1
    assert found["purser_drain_booked_total", ""] >= 1
    assert total(found, "purser_budget_fill_ratio", org=agent.org) == pytest.approx(cost / 20e9, abs=1e-4)
    assert total(found, "purser_registry_info", fingerprint=purser.health().json()["registry_fingerprint"]) == 1
    agent.stop()


def test_no_secret_and_no_name_of_a_customer_is_told(purser, sim):
    agent = purser.new_agent(org=purser.new_org("very-secret-customer"))
    ask(agent)
    agent.wait_entries(1)
    text = scrape(purser)
    for secret in (agent.token, purser.admin_token, *sim.keys.values(), "very-secret-customer", agent.id):
        assert secret not in text
    agent.stop()


def test_only_metrics_are_there(purser):
    base = f"http://{purser.flags[-1]}"
    assert httpx.get(base + "/").status_code == 404
    assert httpx.post(base + "/metrics").status_code == 405
    assert purser.request("GET", "/metrics").status_code == 404


def test_a_port_that_is_taken_costs_the_metrics_and_nothing_else(purser):
    other = Purser(flags=purser.flags)
    try:
        assert other.healthy() and "there will be no metrics" in other.log()
    finally:
        other.stop()
