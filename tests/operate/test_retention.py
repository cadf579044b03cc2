"""What retention keeps, compared with an independent computation on random histories."""

import dataclasses
import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from conftest import EXAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st

from hiring.storage.catalog import BackupFolder
from hiring.storage.folders import ListedFile, LocalFolder
from hiring.storage.manifest import Manifest, StoredFile, StoredTable
from hiring.storage.newest import Backups
from hiring.storage.retention import Rules, decide
from hiring.tables import TABLES

NOW = datetime.datetime(2027, 3, 1, 3, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
CRC32C = "AAAAAA=="


class Taken(NamedTuple):
    """A backup of a history.

    Attributes:
        minutes: before NOW, when it was stored.
        ahead: hours by which the database server's clock was ahead.
        rows: that it holds.
        whole: whether every object is there.
        is_copy: whether it was copied from another place.
    """

    minutes: int
    ahead: int
    rows: int
    whole: bool
    is_copy: bool

    @property
    def stored(self) -> datetime.datetime:
        return NOW - datetime.timedelta(minutes=self.minutes)

    @property
    def taken(self) -> datetime.datetime:
        return self.stored + datetime.timedelta(hours=self.ahead)

    @property
    def time(self) -> datetime.datetime:
        return min(self.taken, self.stored)

    def folder(self, number: int) -> BackupFolder:
        """The folder of this backup as it is listed."""
        generation = 7 if self.is_copy else 8
        file = StoredFile("schema.sql", 0, CRC32C, 0, 8)
        objects = [StoredFile(f"{name}.avro", 1, CRC32C, self.rows, 8) for name in TABLES]
        files = {
            each.name: ListedFile(each.bytes, CRC32C, generation, self.stored)
            for each in (file, *objects[: 3 if self.whole else 2])
        }
        files["manifest.json"] = ListedFile(1, CRC32C, 9, self.stored)
        tables = {
            name: StoredTable((each,), ()) for name, each in zip(TABLES, objects, strict=True)
        }
        manifest = Manifest(self.taken, "hiring", 0, "9.7.0", tables, file, ())
        return BackupFolder(LocalFolder(Path(f"{number:08}T000000.000000Z")), files, manifest)


def expected(history: list[Taken], rules: Rules, now: datetime.datetime) -> set[Taken]:
    """The backups that stay: every one is judged on its own."""
    counting = [each for each in history if each.whole and each.rows]
    if not counting:
        return set(history)
    newest = max(counting, key=lambda each: each.time)

    def of_period(form: str, number: int) -> set[Taken]:
        periods = sorted({f"{each.time:{form}}" for each in counting}, reverse=True)[:number]
        return {
            max((x for x in counting if f"{x.time:{form}}" == each), key=lambda x: x.time)
            for each in periods
        }

    young = {each for each in history if min(now, newest.time) - each.time <= rules.days * DAY}
    last = {each for each in counting if sum(x.time > each.time for x in counting) < rules.last}
    broken = {each for each in history if not each.whole}
    stored_last = max(history, key=lambda each: each.time if each.is_copy else each.stored)
    return (
        {newest, stored_last}
        | young
        | last
        | broken
        | of_period("%G-%V", rules.weeks)
        | of_period("%Y-%m", rules.months)
    )


def backups(folders: list[BackupFolder]) -> Backups:
    """Backups in this order."""
    return Backups(LocalFolder(Path()), folders, "hiring")


def kept(history: list[Taken], rules: Rules, now: datetime.datetime) -> set[Taken]:
    """The backups that `decide` keeps."""
    places = sorted(enumerate(history), key=lambda pair: pair[1].time, reverse=True)
    decisions = decide(backups([each.folder(number) for number, each in places]), rules, now)
    return {history[int(each.folder.name[:8])] for each in decisions if each.stays}


def distinct(history: Iterable[Taken]) -> list[Taken]:
    """Without those whose time, or time of storing, another one has: their order is open."""
    found: list[Taken] = []
    for each in history:
        times = {each.time, each.stored}
        if not any(times & {other.time, other.stored} for other in found):
            found.append(each)
    return found


# Years, bursts of minutes, nights.
MINUTES = st.one_of(
    st.integers(0, 900 * 24 * 60),
    st.integers(0, 200),
    st.integers(0, 12).map(lambda day: day * 24 * 60),
)
AHEAD = st.sampled_from([0, 0, 0, 0, 1, 30, -1, 24 * 365, -24 * 400])
HISTORIES = st.lists(
    st.builds(
        Taken,
        MINUTES,
        AHEAD,
        st.sampled_from([1, 1, 1, 0]),
        st.sampled_from([True, True, True, False]),
        st.sampled_from([False, False, True]),
    ),
    min_size=6,
    max_size=40,
).map(distinct)
FEW = st.sampled_from([0, 0, 1, 2, 7])
RULES = st.builds(Rules, FEW, FEW, FEW, st.sampled_from([0, 0, 1, 2, 14]))


@settings(max_examples=8 * EXAMPLES)
@given(HISTORIES, RULES, st.sampled_from([0, 0, 0, -3, 500, -500]))
def test_what_stays_is_what_the_rules_say(history: list[Taken], rules: Rules, clock: int) -> None:
    """The backups that stay are those of the rules, on any history and with any clock here."""
    now = NOW + clock * DAY
    stays = kept(history, rules, now)
    assert stays == expected(history, rules, now)
    fewer = Rules(rules.last // 2, rules.days // 2, rules.weeks // 2, 0)
    assert kept(history, fewer, now) <= stays


def test_the_last_backup_with_rows_outlives_any_number_of_empty_ones() -> None:
    """Eight empty backups after a full one of nine days ago remove no rows, and stay themselves."""
    full = Taken(9 * 1440, 0, 1, whole=True, is_copy=False)
    empty = [Taken(day * 1440, 0, 0, whole=True, is_copy=False) for day in range(8)]
    assert kept([full, *empty], Rules(last=7, days=7), NOW) == {full, *empty}
    older = Taken(30 * 1440, 0, 0, whole=True, is_copy=False)
    assert kept([full, *empty, older], Rules(last=7, days=7), NOW) == {full, *empty}


def at(days: float, ahead: int = 0) -> Taken:
    """A whole backup with rows of so many days ago."""
    return Taken(round(days * 1440), ahead, 1, whole=True, is_copy=False)


def test_what_lies_on_an_edge_stays() -> None:
    """Exactly so many days, a month of another year, and the one stored last by a slow clock."""
    newest, edge, beyond = at(0), at(3), at(3.001)
    assert kept([newest, edge, beyond], Rules(last=0, days=3), NOW) == {newest, edge}
    year = at(365)
    assert kept([newest, year], Rules(last=0, months=2), NOW) == {newest, year}
    behind = at(-0.1, ahead=-24 * 400)
    assert kept([newest, edge, behind], Rules(last=1), NOW) == {newest, behind}


def test_the_newest_backup_with_rows_of_each_table_stays() -> None:
    """Backups that lost the rows of one table do not take the place of the last one with them."""
    full = Taken(9 * 24 * 60, 0, 5, True, False).folder(0)
    empty = StoredTable((StoredFile("employees.avro", 1, CRC32C, 0, 8),), ())
    later = [Taken(day * 24 * 60, 0, 5, True, False).folder(9 - day) for day in range(8)]
    folders = []
    for each in later:
        assert each.manifest is not None
        tables = each.manifest.tables | {"employees": empty}
        manifest = dataclasses.replace(each.manifest, tables=tables)
        folders.append(dataclasses.replace(each, manifest=manifest))
    decisions = decide(backups([*folders, full]), Rules(last=7, days=7), NOW)
    assert (decisions[-1].stays, decisions[-1].why) == (True, "is the newest with employees")
