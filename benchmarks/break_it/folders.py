"""Stage 1 in folders that are full, read-only or hold a journal that is damaged, locked or of another version.

A run either ends with one clear line and leaves what is there as it is, or asks only what is missing and writes the labels.
"""

from __future__ import annotations

import io
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

from auto_router import errors
from auto_router.collect import journal
from break_it.commands import Command, Ended, run_command
from break_it.endpoints import ANSWER, QUESTIONS, read_labels, write_inputs
from break_it.hostile import HostileServer, completion, encode
from break_it.tally import Tally

JOURNAL = "hf_journal.sqlite"
NAMES = ("one", "two")


class Site:
    """A folder with a data set, a pool, an honest endpoint, and a finished run to damage."""

    def __init__(self, folder: Path, server: HostileServer) -> None:
        self.folder, self.server = folder, server
        models = [{"name": name, "base_url": f"{server.url}/v1", "timeout_s": 10} for name in NAMES]
        self.arguments = [*write_inputs(folder, models), "--match-only", "--skip-preflight"]
        self.out, self.kept = folder / "out", folder / "kept"

    @property
    def journal(self) -> Path:
        return self.out / JOURNAL

    def run(self, *flags: str, prepare: Callable[[], None] | None = None) -> Ended:
        return run_command("prepare_hf_data", [*self.arguments, *flags], prepare=prepare)

    def run_here(self, limit_s: int = 60) -> Ended:
        """The same in this process, which takes a tenth of the time."""
        import prepare_hf_data

        words, start = io.StringIO(), time.monotonic()
        signal.signal(signal.SIGALRM, _raise_overtime)
        signal.alarm(limit_s)
        code: int | None = 1
        try:
            with redirect_stdout(words), redirect_stderr(words):
                code = errors.run(lambda: prepare_hf_data.main(self.arguments))
        except Overtime:
            code = None
        except Exception:  # noqa: BLE001  what a user would see as a traceback
            words.write(traceback.format_exc())
        finally:
            signal.alarm(0)
        return Ended(code, words.getvalue(), time.monotonic() - start)

    def restore(self) -> None:
        """Bring back the finished run, without its JSONs."""
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.copytree(self.kept, self.out)
        for path in self.out.glob("hf_evaluations_*"):
            path.unlink()

    def is_whole(self) -> bool:
        labels = read_labels(self.folder)
        return labels.keys() == set(NAMES) and all(
            [score for score, _ in found] == [1.0] * QUESTIONS for found in labels.values()
        )


class Overtime(BaseException):
    """The time of an attempt is over."""


def _raise_overtime(number: int, frame: object) -> None:
    raise Overtime


def _set(journal: Path, *statements: str) -> None:
    with sqlite3.connect(journal) as database:
        for statement in statements:
            database.execute(statement)
    database.close()


def _cut(journal: Path, share: float) -> None:
    os.truncate(journal, int(journal.stat().st_size * share))


def _flip(journal: Path, rng: random.Random) -> None:
    data = bytearray(journal.read_bytes())
    for _ in range(rng.choice([1, 8, 200])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    journal.write_bytes(data)


def _leave_wal(journal: Path) -> None:
    """A process that dies with its WAL beside the journal: what it committed is only there."""
    code = (
        "import os, sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('PRAGMA wal_autocheckpoint=0');"
        "d.execute('PRAGMA journal_mode=WAL'); d.execute('CREATE TABLE noise (x)'); d.commit(); os._exit(0)"
    )
    subprocess.run(["python3", "-c", code, str(journal)], check=True)


def _foreign_wal(journal: Path, rng: random.Random) -> None:
    journal.with_name(JOURNAL + "-wal").write_bytes(rng.randbytes(9000))
    journal.with_name(JOURNAL + "-shm").write_bytes(rng.randbytes(32768))


def _replace(journal: Path, make: Callable[[Path], object]) -> None:
    journal.unlink()
    make(journal)


DAMAGES: dict[str, Callable[[Path, random.Random], object]] = {
    "cut to half": lambda journal, rng: _cut(journal, 0.5),
    "cut by a byte": lambda journal, rng: os.truncate(journal, journal.stat().st_size - 1),
    "cut to its head": lambda journal, rng: os.truncate(journal, 50),
    "empty": lambda journal, rng: os.truncate(journal, 0),
    "garbage": lambda journal, rng: journal.write_bytes(rng.randbytes(50_000)),
    "garbage behind the head": lambda journal, rng: journal.write_bytes(journal.read_bytes()[:100] + rng.randbytes(9000)),
    "text": lambda journal, rng: journal.write_text("idx,prompt\n1,2\n"),
    "a folder": lambda journal, rng: _replace(journal, Path.mkdir),
    "a dead link": lambda journal, rng: _replace(journal, lambda place: place.symlink_to("nowhere/at/all")),
    "another database": lambda journal, rng: _replace(journal, lambda place: _set(place, "CREATE TABLE exchanges (a INTEGER)")),
    "a view for a table": lambda journal, rng: _set(
        journal, "ALTER TABLE exchanges RENAME TO t", "CREATE VIEW exchanges AS SELECT * FROM t"
    ),
    "a trigger": lambda journal, rng: _set(
        journal, "CREATE TRIGGER x BEFORE INSERT ON exchanges BEGIN SELECT RAISE(ABORT, 'no'); END", "DELETE FROM exchanges"
    ),
    "a column missing": lambda journal, rng: _set(journal, "ALTER TABLE exchanges DROP COLUMN tries"),
    "a newer format": lambda journal, rng: _set(journal, "PRAGMA user_version = 99"),
    "format 1": lambda journal, rng: _set(
        journal, "DROP INDEX by_question", "ALTER TABLE exchanges DROP COLUMN question",
        "ALTER TABLE exchanges DROP COLUMN body", "ALTER TABLE exchanges DROP COLUMN digest", "PRAGMA user_version = 1",
    ),
    "requests no JSON": lambda journal, rng: _set(journal, "UPDATE exchanges SET request = '{nonsense'"),
    "requests of another form": lambda journal, rng: _set(journal, "UPDATE exchanges SET request = '[1]', question = NULL"),
    "format 1, requests no JSON": lambda journal, rng: _set(
        journal, "UPDATE exchanges SET request = '{nonsense'", "DROP INDEX by_question",
        "ALTER TABLE exchanges DROP COLUMN question", "PRAGMA user_version = 1",
    ),
    "format 1, requests lists": lambda journal, rng: _set(
        journal, "UPDATE exchanges SET request = '[1]'", "DROP INDEX by_question",
        "ALTER TABLE exchanges DROP COLUMN question", "PRAGMA user_version = 1",
    ),
    "format 0, answers odd": lambda journal, rng: _set(
        journal, "CREATE TABLE answers (request TEXT, answer TEXT)", "INSERT INTO answers VALUES ('{}', '{\"odd\": 1}')"
    ),
    "numbers in texts' place": lambda journal, rng: _set(journal, "UPDATE exchanges SET text = 7, body = 8, error = 9.5"),
    "blobs in texts' place": lambda journal, rng: _set(journal, "UPDATE exchanges SET body = x'ff00fe', text = x'ff'"),
    "texts in numbers' place": lambda journal, rng: _set(
        journal, "UPDATE exchanges SET cost_usd = 'much', lost_usd = 'x', tries = 'y', prompt_tokens = 'z', latency_s = 'q'"
    ),
    "costs beyond reason": lambda journal, rng: _set(journal, "UPDATE exchanges SET cost_usd = 9e999, lost_usd = -9e999"),
    "format 3": lambda journal, rng: _set(
        journal, "ALTER TABLE exchanges DROP COLUMN digest", "DROP TABLE damaged", "PRAGMA user_version = 3"
    ),
    "another answer in a row": lambda journal, rng: _set(
        journal, f"UPDATE exchanges SET body = replace(body, '{ANSWER}', 'forty-one'), text = 'forty-one' WHERE rowid = 2"
    ),
    "a body and a price changed": lambda journal, rng: _set(
        journal, "UPDATE exchanges SET body = 'x' WHERE rowid = 1", "UPDATE exchanges SET cost_usd = 1e30 WHERE rowid = 2"
    ),
    "no checksums": lambda journal, rng: _set(journal, "UPDATE exchanges SET digest = NULL"),
    "bits flipped": _flip,
    "left with a WAL": lambda journal, rng: _leave_wal(journal),
    "beside another's WAL": _foreign_wal,
}  # fmt: skip


def _attack_journals(tally: Tally, site: Site, rng: random.Random, until: float) -> None:
    journal.PATIENCE_S = 1.0
    for name in [*DAMAGES, *["bits flipped"] * 12]:
        if time.monotonic() > until:
            return
        site.restore()
        DAMAGES[name](site.journal, rng)
        before, asked = site.journal.read_bytes() if site.journal.is_file() else b"", len(site.server.asked)
        ended = site.run_here()
        case = "journal: bits flipped" if name == "bits flipped" else "journals damaged or of another version"
        _note(tally, case, name, ended, site)
        if ended.outcome == "clear error" and before and before != site.journal.read_bytes() and len(site.server.asked) > asked:
            tally.note(case, "paid twice", f"{name}: asked anew, and ended without a result: {ended.output}")


def _note(tally: Tally, case: str, name: str, ended: Ended, site: Site) -> None:
    good = ended.outcome != "right result" or site.is_whole()
    tally.note(case, ended.outcome if good else "lost", f"{name} (code {ended.code}): {ended.output}")


def _attack_locks(tally: Tally, site: Site) -> None:
    """A journal held by another program, and two runs in one folder."""
    site.restore()
    asked = len(site.server.asked)
    first, second = (Command("prepare_hf_data", site.arguments) for _ in range(2))
    ends = [first.wait(60), second.wait(60)]
    for ended in ends:
        _note(tally, "two runs in one folder", "two", ended, site)
    if all(ended.code for ended in ends) or not site.is_whole():
        tally.note("two runs in one folder", "lost", str([ended.output for ended in ends]))
    if len(site.server.asked) > asked:
        tally.note("two runs in one folder", "paid twice", "what was in the journal was asked")
    shutil.rmtree(site.out)
    first, second = (Command("prepare_hf_data", site.arguments) for _ in range(2))
    ends, asked = [first.wait(60), second.wait(60)], len(site.server.asked) - asked
    for ended in ends:
        _note(tally, "two first runs in one folder", "two", ended, site)
    if asked > QUESTIONS * len(NAMES):
        tally.note("two first runs in one folder", "paid twice", f"{asked} requests")
    site.restore()
    holder = sqlite3.connect(site.journal, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    _note(tally, "journal locked by another program", "held", site.run(), site)
    holder.close()


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """Mount ``size`` bytes of memory at ``folder``; yield whether that was allowed here."""
    folder.mkdir(exist_ok=True)
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    ).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _limit_files(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _give_up_soon(size: int = 0) -> None:
    journal.PATIENCE_S = 1.0
    if size:
        _limit_files(size)


def _attack_disks(tally: Tally, site: Site, until: float) -> None:
    for size in (4096, 20_000, 45_000, 60_000, 90_000, 150_000):
        if time.monotonic() > until:
            return
        shutil.rmtree(site.out, ignore_errors=True)
        with small_disk(site.out, size) as mounted:
            if not mounted:
                tally.notes.append("no file system can be mounted here: full disks are tried by a limit on files alone")
                break
            asked = len(site.server.asked)
            ended = site.run(prepare=_give_up_soon)
            _note(tally, "full disk", f"{size} bytes", ended, site)
            subprocess.run(["mount", "-o", "remount,size=50m", str(site.out)], check=True)
            ended = site.run()
            _note(tally, "full disk, then room", f"{size} bytes", ended, site)
            if len(site.server.asked) - asked > 2 * QUESTIONS * len(NAMES) or ended.code:
                tally.note("full disk, then room", "lost", f"{size}: {ended.output}")
    for size in (8192, 30_000, 60_000):
        shutil.rmtree(site.out, ignore_errors=True)
        _note(tally, "limit on the size of files", str(size), site.run(prepare=partial(_give_up_soon, size)), site)
        ended = site.run()
        _note(tally, "limit on the size of files", f"{size}, then none", ended, site)
    for name in ("folder", "journal", "lock", "a file in the folder's place"):
        if time.monotonic() < until:
            _note(tally, "read-only", name, _run_read_only(site, name), site)


def _run_read_only(site: Site, name: str) -> Ended:
    """root writes everywhere, so what is read-only is a mount, or a file that nobody may change."""
    site.restore()
    if name == "a file in the folder's place":
        shutil.rmtree(site.out)
        site.out.write_text("here")
        ended = site.run()
        site.out.unlink()
        return ended
    place = {"folder": site.out, "journal": site.journal, "lock": site.journal.with_suffix(".lock")}[name]
    place.touch() if name == "lock" else None
    bind = subprocess.run(["mount", "--bind", str(place), str(place)], capture_output=True, check=False).returncode
    if bind:
        return site.run()
    subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
    try:
        return site.run()
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def attack(tally: Tally, seconds: float, seed: int) -> None:
    until = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as place, HostileServer(lambda asked: asked.reply(encode(completion(ANSWER)))) as server:
        site = Site(Path(place), server)
        _note(tally, "quiet run", "first", site.run(), site)
        shutil.copytree(site.out, site.kept)
        _attack_locks(tally, site)
        _attack_journals(tally, site, random.Random(seed), until)
        _attack_disks(tally, site, until)
