"""A usage token is revoked while it is in use and several hundred calls a second go on beside it.

CHAOS_REVOCATIONS (3) says how often, CHAOS_RATE (100) how many other calls come each second.
"""

import http.client
import json
import os
import threading
import time

from harness import ANTHROPIC_BASE, MODEL, Purser, Sim, new_key, wait_until
from outage import RATE, Load

TIMES = int(os.environ.get("CHAOS_REVOCATIONS", "3"))
BODY = json.dumps({"model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": "sim: output=2"}]})


class Callers:
    """Threads that call with one token without a pause; when each call began, and how it was answered."""

    def __init__(self, purser, token, threads=3):
        self.purser, self.token, self.calls, self.over = purser, token, [], False
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.purser.port, timeout=30)
        while not self.over:
            began = time.monotonic()
            connection.request("POST", ANTHROPIC_BASE + "/v1/messages", BODY,
                               {"x-api-key": self.token, "content-type": "application/json"})
            response = connection.getresponse()
            response.read()
            self.calls.append((began, response.status))

    def stop(self):
        self.over = True
        for thread in self.threads:
            thread.join(30)


def test_no_call_is_admitted_100_ms_after_its_token_was_revoked():
    sim = Sim({"anthropic-api": new_key()}, calls_kept=10)
    purser = Purser(sim, flags=["--auth-failures-per-minute", "0"])
    try:
        org = purser.new_org()
        purser.api("PATCH", "/org/budgets", {"exempt": True}, org=org)
        agent = purser.new_agent(org=org)
        load = Load(purser, agent, 3 + TIMES)
        took, late, admitted = [], [], 0
        for _ in range(TIMES):
            run = purser.api("POST", f"/workspaces/{agent.id}/runs", org=org)
            callers = Callers(purser, run["env"]["MOLECULE_LLM_USAGE_TOKEN"])
            try:
                wait_until(lambda: len(callers.calls) > 50, "calls to run")
                asked = time.monotonic()
                purser.api("DELETE", f"/workspaces/{agent.id}/runs/{run['run_id']}", org=org)
                answered = time.monotonic()
                wait_until(lambda: sum(status == 401 for _, status in callers.calls) > 50, "refusals")
            finally:
                callers.stop()
            assert {status for began, status in callers.calls if began < asked - 0.05} <= {200}
            took.append(answered - asked)
            late += [began - answered for began, status in callers.calls if status == 200 and began > answered]
            admitted += sum(status == 200 for _, status in callers.calls)
        result = load.result()
        print(f"{TIMES} revocations took {min(took) * 1000:.0f} to {max(took) * 1000:.0f} ms, {admitted} calls admitted before, "
              f"{len(late)} begun after the answer (last {max(late, default=0) * 1000:.0f} ms); beside them "
              f"{result['calls_per_second']}/s of {RATE}: {result['statuses']}")
        assert not [s for s in late if s > 0.1]
        assert set(result["statuses"]) == {"200"}
    finally:
        purser.stop()
        sim.stop()
