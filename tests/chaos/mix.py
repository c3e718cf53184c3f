"""Random calls of every kind at once, and the comparison of what the vendor knows with the ledger.

Each call reports an input that no other call has: by it a call of the fake vendor and a row of the
ledger are known to be the same, wherever the row saw any usage at all.
"""

import collections
import http.client
import itertools
import json
import random
import threading

import httpx

from harness import MODEL, PATIENCE, Purser, Sim, new_key, wait_until

GPT = "openai/gpt-5.4"
KINDS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning")
FIRST_INPUT = 1000
STATES = {"settled", "aborted", "interrupted", "failed", "recovered"}
CERTAINTIES = {"exact", "estimated", "bound"}


class Mix:
    """A purser with agents of both kinds, a fake vendor, and threads that call."""

    def __init__(self, seed, slow=False, **more):
        """slow: the vendor takes its time for every call, so that whatever dies dies in the middle of some."""
        self.seed, self.slow = seed, slow
        self.sim = Sim({"anthropic-api": new_key(), "openai-api": new_key()}, calls_kept=200000)
        self.purser = Purser(self.sim, **more)
        self.org = self.purser.new_org()
        self.purser.api("PATCH", "/org/budgets", {"exempt": True}, org=self.org)
        self.purser.api("PUT", "/org/budgets/month", {"limit": 400_000_000}, org=self.org)
        self.claude = self.purser.new_agent(org=self.org, command="sleep 100000")
        self.codex = self.purser.new_agent(org=self.org, model=GPT, runtime="codex", command="sleep 100000")
        for agent in self.agents():
            self.purser.api("PATCH", f"/workspaces/{agent.id}/budget", {"budget_limits": {"monthly": 400_000_000}},
                            org=self.org)
        self.inputs = itertools.count(FIRST_INPUT)
        self.lock = threading.Lock()
        self.outcomes = collections.Counter()
        self.ended = threading.Event()
        self.threads = []

    def stop(self):
        try:
            self.purser.stop()
        finally:
            self.sim.stop()

    def agents(self):
        return (self.claude, self.codex)

    # ---- one call ----

    def behaviour(self, r):
        """Words for the fake vendor, and after how many pieces of the answer the client leaves."""
        kinds = ["plain"] * 8 + ["late", "silent", "die_before", "die_after", "error_after", "status", "leave", "leave", "leave"]
        kind, output = r.choice(kinds), r.randint(1, 40)
        with self.lock:
            words = f"input={next(self.inputs)} output={output} events={output}"
        if r.random() < 0.3:
            words += f" cache_read={r.randint(1, 500)}"
        if self.slow or r.random() < 0.3:
            words += f" delay_ms={r.randint(2, 12) if self.slow else 1}"
        words += {
            "late": " late_usage=1", "silent": " no_usage=1", "die_before": " die_before=1",
            "die_after": f" die_after={r.randint(0, output)}", "error_after": f" error_after={r.randint(0, output)}",
            "status": f" status={r.choice((400, 401, 429, 500, 503, 529))}"}.get(kind, "")
        return words, r.randint(0, 12) if kind == "leave" else None

    def request(self, r, words):
        text = "sim: " + words
        stream = r.random() < 0.6
        dialect = r.choice(("anthropic", "anthropic", "chat", "responses"))
        if dialect == "anthropic":
            body = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": text}]}
            path, agent = "/api/v1/internal/llm/anthropic/v1/messages", self.claude
        elif dialect == "chat":
            body = {"model": GPT, "max_completion_tokens": 64, "messages": [{"role": "user", "content": text}]}
            path, agent = "/api/v1/internal/llm/openai/v1/chat/completions", self.codex
        else:
            body = {"model": GPT, "max_output_tokens": 64, "input": text}
            path, agent = "/api/v1/internal/llm/openai/v1/responses", self.codex
        return path, agent.token, json.dumps(body | ({"stream": True} if stream else {}))

    def call(self, r, connection):
        words, leave_after = self.behaviour(r)
        path, token, body = self.request(r, words)
        connection.request("POST", path, body, {"Authorization": "Bearer " + token, "Content-Type": "application/json"})
        response = connection.getresponse()
        with self.lock:
            self.outcomes[response.status] += 1
        if leave_after is None:
            response.read()
            return
        for _ in range(leave_after):
            if not response.read1(256):
                break
        connection.close()

    def worker(self, number, calls):
        r = random.Random(self.seed * 1000 + number)
        connection = http.client.HTTPConnection("127.0.0.1", self.purser.port, timeout=20 * PATIENCE)
        for _ in range(calls):
            if self.ended.is_set():
                break
            try:
                self.call(r, connection)
            except (OSError, http.client.HTTPException) as e:
                with self.lock:
                    self.outcomes[type(e).__name__] += 1
                connection.close()
                self.ended.wait(0.02)  # nothing listens: calling without a pause would only keep it from coming back
        connection.close()

    def start(self, calls, threads=8):
        self.threads = [threading.Thread(target=self.worker, args=(n, calls // threads)) for n in range(threads)]
        for t in self.threads:
            t.start()

    def busy(self):
        return any(t.is_alive() for t in self.threads)

    def join(self):
        for t in self.threads:
            t.join()

    def served(self):
        """How many calls the gateway answered with the vendor's words."""
        return self.outcomes[200]

    # ---- the comparison ----

    def truth(self):
        calls = httpx.get(self.sim.url + "/__sim/stats", timeout=120 * PATIENCE, verify=False).json()["calls"]
        return [c for c in calls if c["kind"] in ("messages", "chat", "responses")]

    def rows(self):
        """Every row of the org's agents, from the table: the API shows a thousand at most."""
        columns = self.purser.columns("ledger")
        return [dict(zip(columns, row)) for row in
                self.purser.sql(f"SELECT {', '.join(columns)} FROM ledger WHERE org_id = ?", self.org)]

    def settle(self):
        """Until nothing is under way: at the vendor, in the recorder, in the budgets."""
        wait_until(lambda: self.purser.health().json()["recorder"]["used"] == 0, "the recorder to be drained", 30)
        wait_until(lambda: not [c for c in self.truth() if c["outcome"] == "open"], "the vendor to be done", 30)
        wait_until(self.budgets_are_settled, "the budgets to agree with the ledger", 30)

    def budgets_are_settled(self):
        """The org's budget and those of its workspaces hold nothing, and have spent what the ledger says."""
        spent = {w: int(cost) for w, cost in self.purser.sql(
            "SELECT workspace_id, SUM(cost_nano_usd) FROM ledger WHERE org_id = ? GROUP BY workspace_id", self.org)}
        budgets = self.purser.api("GET", "/org/budgets", org=self.org)["budgets"]
        assert sorted(b["scope"] for b in budgets) == ["org", "workspace", "workspace"], budgets
        return all(b["open_nano_usd"] == 0 and b["spent_nano_usd"] == (
            sum(spent.values()) if b["scope"] == "org" else spent.get(b["workspace_id"], 0)) for b in budgets)

    def check(self, *, killed):
        """killed: workers died, perhaps before a byte of the call had gone out."""
        truth, rows = self.truth(), self.rows()
        assert len({(r["call_id"], r["attempt"]) for r in rows}) == len(rows), "a call is booked twice"
        by_input = {r["input_tokens"]: r for r in rows if r["certainty"] != "bound" and r["state"] != "failed"}
        blind = [r for r in rows if r["certainty"] == "bound" or r["state"] == "failed"]
        unknown = 0
        for call in truth:
            row = by_input.pop(call["usage"]["input"], None) if call["usage"]["input"] else None
            if row is None:
                unknown += 1
                continue
            self.check_row(call, row)
        assert not by_input, f"rows of calls that never reached the vendor: {list(by_input.values())[:3]}"
        # Every other call of the vendor has a row that saw nothing; without deaths, no row is too many.
        sent = [r for r in blind if r["state"] != "failed" or r["vendor_status"] != 0]
        assert unknown <= len(sent), f"{unknown} calls reached the vendor, {len(sent)} rows could be theirs"
        if not killed:
            assert unknown == len(sent), (unknown, len(sent), collections.Counter((r["state"], r["certainty"], r["vendor_status"]) for r in blind))
        assert {r["state"] for r in rows} <= STATES and {r["certainty"] for r in rows} <= CERTAINTIES
        assert self.budgets_are_settled()
        told = json.loads(self.purser.cli("audit", "verify", "--json").stdout)
        assert told["valid"], told
        return collections.Counter((r["state"], r["certainty"]) for r in rows)

    @staticmethod
    def check_row(call, row):
        counted = {k: row[f"{k}_tokens"] for k in KINDS}
        price = {k: row[f"price_{k}"] for k in KINDS if k != "reasoning"}
        cost = (sum(counted[k] * price[k] for k in price) + 500) // 1000
        assert row["cost_nano_usd"] == cost, (row, cost)
        if row["certainty"] == "exact":
            assert counted["output"] == call["usage"]["output"], (call, row)
            assert counted["cache_read"] == call["usage"]["cache_read"], (call, row)
        else:
            # Who was killed, or whose client left, did not read all that the vendor's socket had taken.
            unread = row["state"] in ("recovered", "aborted")
            assert row["certainty"] == "estimated", (call, row)
            assert unread or counted["output"] >= call["usage"]["output"], (call, row)
