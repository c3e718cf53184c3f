"""Events as a stream: live, without gaps, the org's own only, and nobody else's trouble."""

import json
import os
import queue
import signal
import subprocess
import threading
import time
import uuid

import httpx
from harness import PATIENCE, PROGRAM, clean_environment, read_line, wait_until


LOOK_S = 2  # how often a stream looks at the store for what other nodes wrote


class Stream:
    """A follower in a thread; next() waits for its next event."""

    def __init__(self, purser, path="/events", *, org, token=None, after=None, headers=None):
        self.events, self.end = queue.Queue(), None
        headers = {"Authorization": f"Bearer {token or purser.admin_token}", "X-Molecule-Org-Id": org,
                   "Accept": "text/event-stream"} | (headers or {})
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        self.client = httpx.Client(base_url=purser.url, headers=headers, timeout=30, verify=False)
        self.opened = threading.Event()
        threading.Thread(target=self._read, args=(path,), daemon=True).start()
        assert self.opened.wait(10 * PATIENCE)

    def _read(self, path):
        try:
            with self.client.stream("GET", path) as answer:
                self.status, self.type = answer.status_code, answer.headers["content-type"]
                lines = answer.iter_lines()
                next(lines)
                self.opened.set()
                for line in lines:
                    if line.startswith("data: "):
                        self.events.put(json.loads(line[6:]))
            self.end = "ended"
        except Exception as e:
            self.end = repr(e)
        finally:
            self.opened.set()

    def next(self, seconds=5):
        return self.events.get(timeout=seconds * PATIENCE)

    def close(self):
        self.client.close()


def make(purser, org):
    """A workspace that is not started: one event."""
    return purser.new_workspace(["sleep", "9"], org=org, start=False)[0]


def listed(purser, path="/events", **more):
    return purser.request("GET", path, headers={"Accept": "application/json"}, **more)


def test_events_come_as_they_happen_and_only_the_orgs_own(purser):
    org, other = purser.new_org(), purser.new_org()
    stream = Stream(purser, org=org)
    assert (stream.status, stream.type) == (200, "text/event-stream")
    make(purser, other)
    began, n = time.monotonic(), 8
    for _ in range(n):  # the next one happens when the last one was told
        workspace = make(purser, org)
        event = stream.next()
    assert time.monotonic() - began < (n - 1) * LOOK_S, "by looking it would have taken longer"
    assert (event["workspace_id"], event["type"]) == (workspace, "WORKSPACE_CREATED")
    make(purser, other)
    purser.api("DELETE", f"/workspaces/{workspace}", org=org, headers={
        "X-Confirm-Name": purser.api("GET", f"/workspaces/{workspace}", org=org)["name"]})
    assert stream.next()["type"] == "WORKSPACE_REMOVED"
    assert stream.events.empty()
    stream.close()


def test_a_stream_goes_on_where_the_last_one_broke(purser):
    org = purser.new_org()
    made = [make(purser, org) for _ in range(3)]
    whole = Stream(purser, org=org, after=0)
    events = [whole.next() for _ in made]
    assert [e["workspace_id"] for e in events] == made
    assert [e["id"] for e in events] == sorted({e["id"] for e in events})
    whole.close()
    made.append(make(purser, org))
    rest = Stream(purser, org=org, after=events[1]["id"])
    assert [rest.next()["workspace_id"] for _ in range(2)] == made[2:]
    rest.close()
    # A number from a store that is no more: what happens from now on.
    beyond = Stream(purser, org=org, after=10**9)
    made.append(make(purser, org))
    assert beyond.next()["workspace_id"] == made[-1]
    beyond.close()


def test_one_workspace_can_be_followed_alone_by_its_own_token(purser):
    org = purser.new_org()
    mine, sibling = make(purser, org), make(purser, org)
    token = purser.api("POST", f"/workspaces/{mine}/tokens", {}, org=org)["auth_token"]
    stream = Stream(purser, f"/workspaces/{mine}/events", org=org, token=token)
    for workspace in (sibling, mine):
        purser.api("PUT", f"/workspaces/{workspace}/model", {"model": "opus"}, org=org)
    assert stream.next()["workspace_id"] == mine and stream.events.empty()
    stream.close()
    assert listed(purser, f"/workspaces/{sibling}/events", token=token).status_code == 404
    assert listed(purser, token=token).status_code == 403
    assert listed(purser, f"/workspaces/{uuid.uuid4()}/events").status_code == 404
    assert listed(purser).json()["code"] == "ORG_REQUIRED"


def test_lists_go_forwards_from_a_number_or_back_from_the_end(purser):
    org = purser.new_org()
    made = [make(purser, org) for _ in range(5)]
    page = listed(purser, "/events?limit=2", org=org).json()
    assert [e["workspace_id"] for e in page["events"]] == made[3:]
    first = listed(purser, "/events?after=0&limit=2", org=org).json()
    assert [e["workspace_id"] for e in first["events"]] == made[:2]
    rest = listed(purser, f"/events?after={first['last_id']}", org=org).json()
    assert [e["workspace_id"] for e in rest["events"]] == made[2:]
    assert listed(purser, f"/events?after={rest['last_id']}", org=org).json() == {
        "events": [], "first_kept_id": 1, "last_id": rest["last_id"]}
    for bad in ("after=-1", "after=x", "limit=0", "limit=1001", "limit=x"):
        answer = listed(purser, f"/events?{bad}", org=org)
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST"), bad


def test_what_was_removed_for_its_age_is_said(purser):
    org = purser.new_org()
    made = [make(purser, org) for _ in range(5)]
    purser.sql("DELETE FROM events WHERE org_id = ? AND seq <= 3", org)
    stream = Stream(purser, org=org, after=1)
    gap = stream.next()
    assert (gap["type"], gap["id"], gap["details"]) == ("EVENTS_REMOVED", 3, {"removed": 2})
    assert [stream.next()["workspace_id"] for _ in range(2)] == made[3:]
    stream.close()
    for after in (0, 3, 4):  # from the first there is, and where nothing is missing
        stream = Stream(purser, org=org, after=after)
        assert stream.next()["workspace_id"] == made[max(after, 3)]
        stream.close()
    page = listed(purser, "/events?after=1", org=org).json()
    assert (page["first_kept_id"], [e["id"] for e in page["events"]], page["last_id"]) == (4, [4, 5], 5)
    purser.sql("DELETE FROM events WHERE org_id = ?", org)
    stream = Stream(purser, org=org, after=4)
    assert stream.next()["details"] == {"removed": 1}
    stream.close()


def test_streams_never_starve_the_api(purser):
    org = purser.new_org()
    streams = [Stream(purser, org=org) for _ in range(64)]
    assert {s.status for s in streams} == {200}
    one_more = listed(purser, org=org)
    assert one_more.status_code == 200, "a list is no stream"
    too_many = purser.request("GET", "/events", org=org, headers={"Accept": "text/event-stream"})
    assert (too_many.status_code, too_many.json()["code"]) == (429, "TOO_MANY_STREAMS")
    other = Stream(purser, org=purser.new_org())
    assert other.status == 200, "another org has room of its own"
    assert all(purser.healthy() for _ in range(20))
    workspace = make(purser, org)
    assert {s.next()["workspace_id"] for s in streams} == {workspace}
    for stream in (*streams, other):
        stream.close()


def test_a_follower_outlives_purserd_without_a_gap(own_purser):
    org = own_purser.default_org()
    first = make(own_purser, org)
    watch = subprocess.Popen(
        [PROGRAM, "events", "--after", "0", "--json"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=clean_environment(PURSER_SERVER=own_purser.url, PURSER_TOKEN=own_purser.admin_token))
    try:
        assert json.loads(read_line(watch))["workspace_id"] == first
        old = own_purser.purserd_pid()
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: own_purser.purserd_pid() not in (None, old) and own_purser.healthy(), "purserd", 15)
        second = make(own_purser, org)
        assert json.loads(read_line(watch))["workspace_id"] == second
    finally:
        watch.kill()
        watch.wait(5)


def test_the_command_line_tells_what_happens_while_it_waits(purser):
    org = purser.new_org()
    made = purser.cli("workspace", "create", "good", "--model", "anthropic/claude-opus-4-7", "--", "sleep", "600",
                      PURSER_ORG=org)
    assert uuid.UUID(made.stdout.strip())
    assert [line.split()[1] for line in made.stderr.splitlines()] == [
        "WORKSPACE_CREATED", "WORKSPACE_PROVISIONING", "WORKSPACE_ONLINE"]
    bad = purser.cli("workspace", "create", "bad", "--model", "anthropic/claude-opus-4-7", "--restart", "never", "--",
                     "/bin/sh", "-c", "exit 3", PURSER_ORG=org, check=False)
    assert bad.returncode == 1 and "AGENT_EXITED: the agent ended with exit code 3" in bad.stderr
    assert "created, but not started: AGENT_EXITED" in bad.stderr
    assert purser.cli("workspace", "stop", "good", PURSER_ORG=org).stdout == "stopped\n"
    assert purser.cli("workspace", "pause", "good", PURSER_ORG=org).stdout == "paused\n"
    refused = purser.cli("workspace", "start", "good", PURSER_ORG=org, check=False)
    assert refused.returncode == 1 and "CONFLICT: the workspace is paused: resume it" in refused.stderr
    assert purser.cli("workspace", "resume", "good", PURSER_ORG=org).stdout == "online\n"
    assert purser.cli("workspace", "set", "good", "--restart", "always", "--role", "a role", PURSER_ORG=org).stdout == "changed\n"
    row = json.loads(purser.cli("workspace", "show", "good", "--json", PURSER_ORG=org).stdout)
    assert (row["restart"], row["role"], row["status"]) == ("always", "a role", "online")
    assert purser.cli("workspace", "set", "good", PURSER_ORG=org, check=False).returncode == 2
    wrong = purser.cli("workspace", "set", "good", "--restart", "sometimes", PURSER_ORG=org, check=False)
    assert wrong.returncode == 1 and "never, on-failure or always" in wrong.stderr
    with subprocess.Popen(
            [PROGRAM, "workspace", "watch", "good", "--after", "0"], stdout=subprocess.PIPE, text=True,
            env=clean_environment(PURSER_SERVER=purser.url, PURSER_TOKEN=purser.admin_token, PURSER_ORG=org)) as watch:
        assert [read_line(watch).split()[1] for _ in range(4)] == [
            "WORKSPACE_CREATED", "WORKSPACE_PROVISIONING", "WORKSPACE_ONLINE", "WORKSPACE_STOPPED"]
        watch.kill()


def test_a_stream_ends_with_its_credential(purser):
    org = purser.new_org()
    workspace = make(purser, org)
    made = purser.api("POST", f"/workspaces/{workspace}/tokens", {}, org=org)
    stream = Stream(purser, f"/workspaces/{workspace}/events", org=org, token=made["auth_token"])
    tokens = purser.api("GET", f"/workspaces/{workspace}/tokens", org=org)
    (row,) = [t for t in (tokens["tokens"] if isinstance(tokens, dict) else tokens)]
    purser.api("DELETE", f"/workspaces/{workspace}/tokens/{row['id']}", org=org)
    purser.api("PUT", f"/workspaces/{workspace}/model", {"model": "opus"}, org=org)
    wait_until(lambda: stream.end == "ended", "the stream to end", 5)
    assert stream.events.empty(), "nothing is told to a revoked token"


def test_a_few_orgs_leave_room_for_the_others(own_purser):
    purser = own_purser
    orgs = [purser.new_org() for _ in range(4)]
    streams = [Stream(purser, org=orgs[0]) for _ in range(64)] + [Stream(purser, org=orgs[1]) for _ in range(36)]
    refused = purser.request("GET", "/events", org=orgs[1], headers={"Accept": "text/event-stream"})
    assert (refused.status_code, refused.json()["code"]) == (429, "TOO_MANY_STREAMS")
    streams += [Stream(purser, org=org) for org in orgs[2:] for _ in range(4)]
    assert {s.status for s in streams} == {200}
    for stream in streams:
        stream.close()
