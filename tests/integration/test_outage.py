"""The store goes away, the disk is full: calls go on while they can be written down, and no row is lost."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import MODEL, PATIENCE, Purser, make_folder, run_directory, wait_until

SLOTS = 64  # a recorder of this size is full soon


class Postgres:
    """A server of its own on a Unix socket in a temporary folder, as tests/unit/store/with_postgres has it."""

    def __init__(self):
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
        if not programs:
            pytest.skip("PostgreSQL is not installed")
        self.bin = programs[-1].parent
        self.folder = make_folder()
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.run("initdb", "-D", self.folder / "data", "-U", "purser", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        self.url = f"postgresql:///postgres?host={self.folder}&user=purser"
        self.start()

    def run(self, program, *argv):
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
        subprocess.run([*as_postgres, str(self.bin / program), *map(str, argv)], check=True, cwd=self.folder,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60 * PATIENCE)

    def control(self, *what):
        self.run("pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log", "-w", *what)

    def start(self):
        self.control("-o", f"-k {self.folder} -h '' -c fsync=off", "start")

    def stop(self):
        self.control("-m", "immediate", "stop")

    def query(self, sql):
        return subprocess.run([str(self.bin / "psql"), "-h", str(self.folder), "-U", "purser", "-Atc", sql, "postgres"],
                              check=True, capture_output=True, text=True, timeout=60 * PATIENCE).stdout.split()


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def on_postgres(shared_sim, postgres):
    purser = Purser(shared_sim, flags=["--store", postgres.url, "--recorder-slots", str(SLOTS)])
    yield purser
    purser.stop()


def ask(agent):
    return agent.post({"model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]})


def recorder(purser):
    return purser.health().json()["recorder"]


def rows_of(postgres, agent):
    return postgres.query(f"SELECT seq || ':' || call_id FROM ledger WHERE workspace_id = '{agent.id}' ORDER BY seq")


def test_calls_go_on_without_the_store_and_are_booked_in_order_when_it_is_back(sim, on_postgres, postgres):
    agent = on_postgres.new_agent()
    postgres.stop()
    for _ in range(30):
        assert ask(agent).status_code == 200
    health = wait_until(lambda: on_postgres.health() if recorder(on_postgres)["waiting"] == 30 else None, "calls to wait")
    assert health.status_code == 503 and health.json()["recorder"]["lag_ms"] > 0
    postgres.start()
    wait_until(lambda: recorder(on_postgres)["used"] == 0 and on_postgres.healthy(), "the drain to catch up")
    calls = [row.split(":")[1] for row in rows_of(postgres, agent)]
    assert len(calls) == 30 == len(sim.calls())
    # UUIDv7: the order of the ids is that of the calls.
    assert calls == sorted(calls)
    assert recorder(on_postgres)["lag_ms"] == 0


def test_a_full_recorder_refuses_and_loses_nothing(sim, on_postgres, postgres):
    agent = on_postgres.new_agent()
    postgres.stop()
    answers = [ask(agent).status_code for _ in range(SLOTS + 10)]
    # A worker refuses when its own lanes are full, so a call may still be taken by another worker after the first refusal.
    good = answers.count(200)
    assert set(answers) == {200, 503} and good <= SLOTS, answers
    assert len(sim.calls()) == good, "a call that could not be written down was made"
    postgres.start()
    wait_until(lambda: recorder(on_postgres)["used"] == 0, "the drain to catch up")
    assert len(rows_of(postgres, agent)) == good
    assert ask(agent).status_code == 200


@pytest.fixture
def small_disk():
    folder = make_folder()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m,mode=0711", "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this machine lets nobody mount a tmpfs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_refuses_calls_and_then_all_goes_on(sim, small_disk):
    purser = Purser(sim, state=small_disk / "state", flags=["--recorder-slots", str(SLOTS)])
    try:
        agent = purser.new_agent()
        ask(agent)
        agent.wait_entries(1)
        ballast = os.open(small_disk / "ballast", os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError):
            while True:
                os.write(ballast, bytes(65536))
        os.close(ballast)
        answers = []

        def refused():
            answers.append(ask(agent).status_code)
            return answers[-1] == 503
        wait_until(refused, "calls to be refused", 20)
        assert set(answers) <= {200, 503}
        os.unlink(small_disk / "ballast")
        wait_until(lambda: recorder(purser)["used"] == 0 and purser.healthy(), "the drain to catch up", 20)
        assert agent.usage()["calls"] == 1 + answers.count(200) == len(sim.calls())
        assert ask(agent).status_code == 200
    finally:
        purser.stop()
        shutil.rmtree(run_directory(purser.state), ignore_errors=True)
