"""Databases: those who notice first when a filesystem loses a byte, an order or a lock."""

from __future__ import annotations

import os
import pwd
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from torture.loads.place import Failed, Place, Skipped, expect, run

ACCOUNTS, EACH = 50, 1000


def sqlite(place: Place) -> str:
    """Several processes move money about in one database, in both journal modes; none is lost."""
    transfers = place.amount(60, 600)
    for mode in ("wal", "delete"):
        path = place.directory / f"{mode}.db"
        with closing(sqlite3.connect(path)) as database:
            expect("journal mode", database.execute(f"pragma journal_mode={mode}").fetchone()[0], mode)
            database.execute("create table account(id integer primary key, amount int)")
            database.execute("create table transfer(source int, target int, amount int, note text)")
            database.executemany("insert into account values (?, ?)", ((n, EACH) for n in range(ACCOUNTS)))
            database.commit()
        in_children(4, lambda seed, path=path: move_money(path, transfers, seed))  # type: ignore[misc]
        check_accounts(path, 4 * transfers)
    return f"{4 * transfers} transfers by 4 processes, twice"


def move_money(path: Path, transfers: int, seed: int) -> None:
    """One process's transfers, each a transaction; some are rolled back and made again."""
    chance = random.Random(seed)
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as database:
        database.execute("pragma busy_timeout=60000")
        done = 0
        while done < transfers:
            source, target, amount = chance.randrange(ACCOUNTS), chance.randrange(ACCOUNTS), chance.randrange(100)
            database.execute("begin immediate")
            database.execute("update account set amount = amount - ? where id = ?", (amount, source))
            database.execute("update account set amount = amount + ? where id = ?", (amount, target))
            note = "n" * chance.randrange(2000)
            database.execute("insert into transfer values (?, ?, ?, ?)", (source, target, amount, note))
            keep = chance.random() < 0.9
            database.execute("commit" if keep else "rollback")
            done += keep
            if done % 50 == 49:
                database.execute("pragma wal_checkpoint(passive)")


def check_accounts(path: Path, transfers: int) -> None:
    """The sums are right, and sqlite finds nothing wrong."""
    with closing(sqlite3.connect(path)) as database:
        expect("integrity_check", database.execute("pragma integrity_check").fetchall(), [("ok",)])
        expect("the sum", database.execute("select sum(amount) from account").fetchone()[0], ACCOUNTS * EACH)
        expect("transfers", database.execute("select count(*) from transfer").fetchone()[0], transfers)
        database.execute("vacuum")
        expect("integrity_check after vacuum", database.execute("pragma integrity_check").fetchall(), [("ok",)])


def in_children(count: int, work: Callable[[int], None]) -> None:
    """Run `work` in several processes at once, each with its number.

    Raises:
        Failed: one of them did not end well; its traceback is on stderr.
    """
    pids = []
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(number)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    expect("exit codes", codes, [0] * count)


# PostgreSQL


def programs() -> Path:
    """The directory of the newest PostgreSQL server here."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise Skipped("apt-get install postgresql")
    return found[-1].parent


def postgresql(place: Place) -> str:
    """A cluster is made and loaded, crashed, recovered, and must balance."""
    where = programs()
    user = account()
    data, sockets = place.directory / "data", place.native / "sockets"
    for directory in (data, sockets):
        directory.mkdir(mode=0o700)
        os.chown(directory, user, user)
    run(where / "initdb", "-D", data, "-U", "t", "-A", "trust", "-E", "UTF8", "--locale=C", user=user, cwd=data)
    seconds = str(place.amount(1, 20))
    with server(where, data, sockets, user):
        bench(where, sockets, "-i", "-q", "-s", str(place.amount(1, 4)))
        bench(where, sockets, "-c", "3", "-T", seconds, "-n")
        check_balance(where, sockets)
    with server(where, data, sockets, user, end=signal.SIGQUIT):  # it ends without a checkpoint
        bench(where, sockets, "-c", "3", "-T", seconds, "-n")
    with server(where, data, sockets, user):
        check_balance(where, sockets)
        query(where, sockets, "vacuum full analyze")
        transactions = query(where, sockets, "select count(*) from pgbench_history")
    return f"{transactions} transactions, one crash"


def account() -> int:
    """Whom the server runs as: it refuses to be root."""
    try:
        return pwd.getpwnam("postgres").pw_uid
    except KeyError:
        return 65534


@contextmanager
def server(where: Path, data: Path, sockets: Path, user: int, end: signal.Signals = signal.SIGINT) -> Iterator[None]:
    """A running server, which is ended with a signal."""
    log = sockets.parent / "log"
    settings = ["-c", "listen_addresses=", "-c", "shared_buffers=16MB", "-c", f"unix_socket_directories={sockets}"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [where / "postgres", "-D", data, *settings],
            user=user, group=user, extra_groups=[], stdout=output, stderr=output, cwd=data,
        )  # fmt: skip
    try:
        wait_for_server(where, sockets, process, log)
        yield
    finally:
        process.send_signal(end)
        process.wait(60)


def wait_for_server(where: Path, sockets: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it takes connections."""
    deadline = time.monotonic() + 60
    while subprocess.run([where / "pg_isready", "-q", "-h", sockets], check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"the server does not start:\n{log.read_text(errors='replace')[-1500:]}")
        time.sleep(0.05)


def bench(where: Path, sockets: Path, *options: str) -> str:
    return run(where / "pgbench", "-h", sockets, "-U", "t", *options, "postgres")


def query(where: Path, sockets: Path, text: str) -> str:
    return run(where / "psql", "-h", sockets, "-U", "t", "-At", "-c", text, "postgres").strip()


def check_balance(where: Path, sockets: Path) -> None:
    """What pgbench's transactions keep true: four sums are one."""
    tables = (("accounts", "abalance"), ("tellers", "tbalance"), ("branches", "bbalance"), ("history", "delta"))
    text = "select coalesce(sum({}), 0) from pgbench_{}"
    sums = [query(where, sockets, text.format(column, table)) for table, column in tables]
    expect("the four sums", len(set(sums)), 1)
