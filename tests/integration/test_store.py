"""The store as an operator meets it: two engines, migrations, copies, and what goes wrong with them."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import time

import pytest

from harness import (PATIENCE, PROGRAM, InBackground, Nodes, Postgres, Process, Purser, clean_environment, free_port,
                     make_folder, wait_until)

BODY = {"model": "anthropic/claude-opus-4-7", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}
EVENTS = 4000
LOOK_S = 2  # how often a node looks for what no notice told it


@contextlib.contextmanager
def opened(path):
    """sqlite3's own "with" commits but does not close."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        yield db


def run(*argv, ok=True):
    done = subprocess.run([str(PROGRAM), *map(str, argv)], text=True, capture_output=True, timeout=120 * PATIENCE,
                          env=clean_environment())
    if ok:
        assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


class Sqlite:
    """An engine, as the tests below need it: new stores, and SQL past purser."""

    @staticmethod
    def fresh():
        return str(make_folder() / "purser.db")

    @staticmethod
    def sql(url, text):
        with opened(url) as db:
            return "\n".join("|".join(map(str, row)) for row in db.execute(text))


class Server:
    @staticmethod
    def fresh():
        return Postgres.shared().fresh()

    @staticmethod
    def sql(url, text):
        return Postgres.shared().sql(url, text)


ENGINES = pytest.mark.parametrize("engine", [Sqlite, Server])


def status(url):
    return json.loads(run("migrate", "status", "--store", url, "--json").stdout)


@ENGINES
def test_migrate_goes_up_and_down_and_says_where_it_is(engine):
    url = engine.fresh()
    up = json.loads(run("migrate", "up", "--store", url, "--json").stdout)
    known = up["known"]
    assert up["version"] == known == len(up["migrations"])
    assert all(m["applied"] and m["applied_at"] > 0 for m in up["migrations"])
    run("migrate", "down", "--store", url)
    assert status(url)["version"] == known - 1
    run("migrate", "down", "--to", "1", "--store", url)
    assert [m["applied"] for m in status(url)["migrations"]] == [True] + [False] * (known - 1)
    said = run("migrate", "down", "--to", "2", "--store", url, ok=False)
    assert said.returncode == 2 and "not down" in said.stderr
    said = run("migrate", "up", "--to", "999", "--store", url, ok=False)
    assert said.returncode != 0 and f"the last one is {known}" in said.stderr
    run("migrate", "up", "--store", url)
    assert f"at migration {known}" in run("migrate", "status", "--store", url).stdout


@ENGINES
def test_a_store_of_a_later_purser_is_left_alone(engine):
    url = engine.fresh()
    run("migrate", "up", "--store", url)
    engine.sql(url, "INSERT INTO schema_migrations (version, name, applied_ms) VALUES (9999, 'later', 1)")
    for command in (["migrate", "up"], ["migrate", "down"], ["serve", "--state", make_folder() / "s"]):
        said = run(*command, "--store", url, ok=False)
        assert said.returncode == 1 and "STORE_TOO_NEW" in said.stderr and "later purser" in said.stderr
    assert status(url)["version"] == 9999


def test_status_makes_no_store():
    url = Sqlite.fresh()
    said = run("migrate", "status", "--store", url, ok=False)
    assert said.returncode == 1 and "there is no store" in said.stderr
    assert not os.path.exists(url)


@ENGINES
def test_processes_that_migrate_at_once_take_turns(engine):
    for _ in range(2):
        url, log = engine.fresh(), make_folder() / "log"
        all_of_them = [Process([PROGRAM, "migrate", "up", "--store", url], log) for _ in range(5)]
        codes = [p.child.wait(60 * PATIENCE) for p in all_of_them]
        # One that finds the store taken by another one's migration says so; none breaks it.
        said = log.read_text()
        assert 0 in codes and codes.count(0) + said.count("STATE_LOCKED") == 5, said
        assert status(url)["version"] == status(url)["known"]


@ENGINES
def test_purserds_that_start_at_once_on_an_empty_store(engine):
    url, folder = engine.fresh(), make_folder()
    nodes = [Process([PROGRAM, "serve", "--state", folder / f"s{i}", "--store", url, "--recorder-slots", "64",
                      "--listen", f"127.0.0.1:{free_port()}"], folder / f"log{i}") for i in range(3)]
    for node in nodes:
        wait_until(lambda n=node: "serving" in n.log() or not n.alive(), "purserd to serve", 20)
    codes = [node.stop() for node in nodes]
    assert codes == [0, 0, 0], [node.log() for node in nodes]
    assert engine.sql(url, "SELECT COUNT(*) FROM nodes") == ("1" if engine is Sqlite else "3")


def fill(url):
    """A store with something to copy: an org, some workspaces, many events."""
    run("migrate", "up", "--store", url)
    with opened(url) as db:
        db.execute("INSERT INTO nodes (id, created_ms) VALUES ('n', 1)")
        db.execute("INSERT INTO orgs (id, slug, name, created_ms) VALUES ('o', 'one', 'Org \u00e9', 1)")
        db.executemany("INSERT INTO events (org_id, seq, type, details, created_ms) VALUES ('o', ?, 't', '{}', 1)",
                       [(i,) for i in range(EVENTS)])


def copy(source, target, **more):
    return run("store", "copy", "--from", source, "--to", target, **more)


def test_a_copy_goes_there_and_back():
    first, server, last = Sqlite.fresh(), Server.fresh(), Sqlite.fresh()
    fill(first)
    there = json.loads(run("store", "copy", "--from", first, "--to", server, "--json").stdout)
    said = copy(server, last).stdout
    assert f"copied and verified: {EVENTS + 2} rows" in said and "verified" in said.splitlines()[0]
    back = json.loads(run("store", "copy", "--from", last, "--to", Server.fresh(), "--json").stdout)
    assert there == back and there["rows"] == EVENTS + 2
    with opened(first) as a, opened(last) as b:
        for table in [t["table"] for t in there["tables"]]:
            assert a.execute(f"SELECT * FROM {table}").fetchall() == b.execute(f"SELECT * FROM {table}").fetchall()
    said = copy(first, last, ok=False)
    assert said.returncode == 1 and "not empty" in said.stderr


@pytest.mark.parametrize("target", [Sqlite, Server])
def test_a_copy_that_is_killed_is_all_or_nothing(target):
    source, url = Sqlite.fresh(), target.fresh()
    fill(source)
    began = time.monotonic()
    copy(source, target.fresh())
    whole = time.monotonic() - began
    seen = []
    for i in range(4):
        process = Process([PROGRAM, "store", "copy", "--from", source, "--to", url], make_folder() / "log")
        time.sleep(whole * random.uniform(0.05, 0.95))  # a random moment: this is no waiting
        process.child.kill()
        process.child.wait(10)
        seen.append(copy_state(target, url))
        if seen[-1] == EVENTS:
            url = target.fresh()
    done = copy(source, url)
    assert f"{EVENTS + 2} rows" in done.stdout, seen
    assert copy_state(target, url) == EVENTS


def copy_state(target, url):
    """Rows of events: none or all, whenever the copy was killed."""
    try:
        n = int(target.sql(url, "SELECT COUNT(*) FROM events"))
    except (sqlite3.OperationalError, subprocess.CalledProcessError):
        n = 0
    assert n in (0, EVENTS)
    return n


@ENGINES
def test_a_migration_that_is_killed_goes_on(engine):
    url = engine.fresh()
    began = time.monotonic()
    run("migrate", "up", "--store", engine.fresh())
    whole = time.monotonic() - began
    for i in range(6):
        way = ["up"] if i % 2 == 0 else ["down", "--to", "0"]
        process = Process([PROGRAM, "migrate", *way, "--store", url], make_folder() / "log")
        time.sleep(whole * random.uniform(0, 1))
        process.child.kill()
        process.child.wait(10)
        if engine is Server:  # the backend finds out when it next writes to the client
            wait_until(lambda: Server.sql(url, "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'purser'"
                                          " AND datname = current_database()") == "0", "the backend to end")
    run("migrate", "up", "--store", url)
    assert status(url)["version"] == status(url)["known"]
    run("migrate", "down", "--to", "0", "--store", url)
    run("migrate", "up", "--store", url)


@pytest.fixture(scope="module", params=[Sqlite, Server], ids=["sqlite", "postgresql"])
def served(request, shared_sim):
    url = request.param.fresh()
    purser = Purser(shared_sim, env={"PURSER_STORE": url})
    purser.store_url, purser.engine = url, request.param
    yield purser
    purser.stop()


def test_a_served_store_is_neither_migrated_nor_copied(served):
    for command in (["migrate", "down"], ["migrate", "up"]):
        said = run(*command, "--store", served.store_url, ok=False)
        assert said.returncode == 1 and "STATE_LOCKED" in said.stderr and "stop the purserd" in said.stderr
    assert "source store is in use" in copy(served.store_url, Sqlite.fresh(), ok=False).stderr
    empty = Sqlite.fresh()
    run("migrate", "up", "--store", empty)
    assert "target store is in use" in copy(empty, served.store_url, ok=False).stderr
    assert status(served.store_url)["version"] > 0  # looking is fine


def test_moving_to_postgresql_changes_nothing_else(own_sim):
    here, there = Sqlite.fresh(), Server.fresh()
    purser = Purser(own_sim, env={"PURSER_STORE": here})
    agent = purser.new_agent()
    assert agent.post(BODY).status_code == 200
    before = agent.wait_entries(1)
    agent.stop()
    assert purser.process.stop(signal.SIGINT) == 0
    copy(here, there)
    purser.env["PURSER_STORE"] = there
    purser.start()
    try:
        assert agent.entries() == before
        assert purser.api("POST", f"/workspaces/{agent.id}/start", org=agent.org)
        wait_until(lambda: agent.row()["status"] == "online", "the agent to run again")
        purser.cli("audit", "verify")
    finally:
        purser.stop()


@pytest.fixture(scope="module")
def nodes(shared_sim):
    both = Nodes(shared_sim)
    yield both
    both.stop()


def through(nodes, node, agent):
    return nodes.call(node, agent).status_code


def test_what_one_node_changes_reaches_the_other_s_gateway(nodes):
    agents = [nodes.a.new_agent() for _ in range(6)]
    for agent in agents:
        wait_until(lambda x=agent: through(nodes, nodes.b, x) == 200, "the other node to know the token and the key")
    arrived = []
    for agent in agents:  # each is stopped when the last one's end has arrived
        agent.stop()
        wait_until(lambda x=agent: through(nodes, nodes.b, x) == 401, "the revocation to arrive")
        arrived.append(time.monotonic())
    assert arrived[-1] - arrived[0] < (len(arrived) - 1) * LOOK_S, "it looked for them: no notice came"


def test_what_no_notice_tells_is_found_by_looking(nodes):
    agent = nodes.a.new_agent()
    wait_until(lambda: through(nodes, nodes.b, agent) == 200, "the other node to know the token")
    for live, expected in ((False, 401), (True, 200)):
        Server.sql(nodes.url, f"UPDATE tokens SET revoked_ms = {0 if live else 1} WHERE workspace_id = '{agent.id}';"
                   "UPDATE nodes SET changes = changes + 1")
        for node in (nodes.a, nodes.b):
            wait_until(lambda n=node, e=expected: through(nodes, n, agent) == e, f"a gateway to answer {expected}")


def test_a_node_that_starts_leaves_the_others_agents_alone(nodes):
    agent = nodes.a.new_agent()
    nodes.b.stop()
    nodes.b = nodes.start_b()
    # Each has to get its lease of the org's budget first: 429 until then.
    wait_until(lambda: through(nodes, nodes.b, agent) == 200, "the other node to take the call")
    wait_until(lambda: through(nodes, nodes.a, agent) == 200, "its own node to take the call")
    wait_until(lambda: agent.row()["status"] == "online", "the agent to be online still")
    rows = Server.sql(nodes.url, "SELECT COUNT(*) FROM nodes")
    assert rows == "2", "a node keeps its id"
    assert Server.sql(nodes.url, "SELECT COUNT(*) FROM nodes WHERE last_seen_ms > 0") == "2"


@pytest.fixture(scope="module")
def own_server():
    """A PostgreSQL that a test may kill."""
    server = Postgres()
    yield server
    server.stop()


def test_postgresql_goes_away_and_comes_back(own_sim, own_server):
    server = own_server
    purser = Purser(own_sim, env={"PURSER_STORE": server.fresh()})
    try:
        agent, pid = purser.new_agent(), purser.purserd_pid()
        server.kill()
        answer = purser.request("GET", "/workspaces", org=agent.org)
        assert answer.status_code == 503 and answer.json()["code"] == "STORE_UNAVAILABLE", answer.text
        assert purser.request("POST", "/admin/orgs", {"slug": "x", "name": "x"}).status_code == 503
        assert agent.post(BODY).status_code == 200, "the gateway does not wait for the store"
        server.start()
        wait_until(lambda: purser.request("GET", "/workspaces", org=agent.org).status_code == 200, "the API to work again")
        for _ in range(12):  # no connection of before is left in the pool
            assert purser.request("GET", "/workspaces", org=agent.org).status_code == 200
        agent.wait_entries(1)
        assert purser.purserd_pid() == pid
        agent.stop()
        assert agent.post(BODY).status_code == 401
    finally:
        purser.stop()


def test_backends_killed_while_they_write(own_sim, own_server):
    """Whatever was answered is there; whatever was refused can be done again; nothing is half there."""
    server = own_server
    url = server.fresh()
    purser = Purser(own_sim, env={"PURSER_STORE": url})
    try:
        org, answers = purser.default_org(), {}
        stop = False

        def write():
            n = 0
            while not stop:
                n += 1
                answers[f"NAME_{n}"] = purser.request(
                    "PUT", "/settings/secrets", {"key": f"NAME_{n}", "value": "v"}, org=org).status_code

        def backends():
            with contextlib.suppress(subprocess.CalledProcessError):  # it has not got over the last kill
                return server.sql(url, "SELECT pid FROM pg_stat_activity WHERE application_name = 'purser'"
                                  " AND datname = current_database()").split()

        writer = InBackground(write)
        for how in ("terminate", "kill", "terminate", "kill"):
            done = len([s for s in list(answers.values()) if s < 300])
            wait_until(lambda d=done: len([s for s in list(answers.values()) if s < 300]) > d + 3, "some writes to succeed")
            pids = wait_until(backends, "purser to be connected")
            for pid in pids if how == "terminate" else random.sample(pids, 1):
                try:
                    os.kill(int(pid), signal.SIGTERM if how == "terminate" else signal.SIGKILL)
                except ProcessLookupError:
                    pass
        stop = True
        writer.result()

        def listed():
            answer = purser.request("GET", "/settings/secrets", org=org)
            return answer.status_code == 200 and {s["key"] for s in answer.json()}

        there = wait_until(listed, "the store to be back")
        assert set(answers.values()) <= {200, 201, 503}, set(answers.values())
        assert {name for name, status in answers.items() if status < 300} <= there
        assert there <= set(answers)
    finally:
        purser.stop()


@pytest.fixture
def small_disk():
    """A file system of its own that can be filled and made read-only."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system to fill")
    folder = make_folder()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0711", "tmpfs", folder]).returncode != 0:
        pytest.skip("no mounts here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_and_a_read_only_one(own_sim, small_disk):
    store = small_disk / "purser.db"
    purser = Purser(own_sim, env={"PURSER_STORE": str(store)})
    try:
        org = purser.default_org()
        put = lambda name: purser.request("PUT", "/settings/secrets", {"key": name, "value": "v" * 30000}, org=org)
        names = lambda: {s["key"] for s in purser.api("GET", "/settings/secrets", org=org)}
        assert put("BEFORE").status_code < 300
        ballast = os.open(small_disk / "ballast", os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError, match="No space left"):
            while True:
                os.write(ballast, bytes(4096))
        os.close(ballast)
        said = [put(f"FULL_{i}") for i in range(10)]
        assert said[-1].status_code == 503 and said[-1].json()["code"] == "STORE_UNAVAILABLE", said[-1].text
        stored = {f"FULL_{i}" for i, answer in enumerate(said) if answer.status_code < 300}
        assert names() == {"BEFORE"} | stored, "reading goes on, and nothing is half there"
        (small_disk / "ballast").unlink()
        wait_until(lambda: put("AFTER").status_code < 300, "writes to work again")
        with opened(store) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        purser.process.stop(signal.SIGINT)
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        said = run("serve", "--state", purser.state, "--store", store, ok=False)
        assert said.returncode == 1 and "STORE_UNAVAILABLE" in said.stderr and "ead-only" in said.stderr, said.stderr
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        purser.start()
        assert names() == {"BEFORE", "AFTER"} | stored
    finally:
        purser.stop()
