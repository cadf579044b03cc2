"""What a restore or an import is going to do, read once from its options and its source."""

import re
from dataclasses import dataclass

from hiring.deadline import Deadline
from hiring.errors import BadSource
from hiring.storage import folders, newest
from hiring.storage.folders import SourceFolder
from hiring.storage.manifest import MANIFEST
from hiring.tables import TABLES
from restore.backup_source import Backup

NEXT_ID = re.compile(r"^\)[^'\n]*?( AUTO_INCREMENT=(\d+))", re.MULTILINE)
"""The id of the next row in what SHOW CREATE TABLE prints."""


@dataclass(frozen=True)
class Plan:
    """What every load does to the database.

    Attributes:
        tables: to fill; the others stay as they are.
        replace: whether to delete their present rows in the same transaction.
        statements: the CREATE TABLE of each table that the source has one for.
    """

    tables: tuple[str, ...]
    replace: bool
    statements: dict[str, str]


@dataclass(frozen=True)
class RestorePlan(Plan):
    """The plan of a restore from a backup."""

    backup: Backup


@dataclass(frozen=True)
class ImportPlan(Plan):
    """The plan of an import: names of files by table, and the percentage that may be invalid."""

    folder: SourceFolder
    files: dict[str, str]
    most_invalid: int


@dataclass(frozen=True)
class Outcome:
    """Row counts for one table.

    Attributes:
        where: the addresses of the invalid rows.
        blanks: an import's names that begin or end with a blank, in valid rows.
        cut: those that the column holds without the blanks at their end.
    """

    table: str
    read: int
    loaded: int
    invalid: int
    where: str
    blanks: int | None = None
    cut: int | None = None


class Unfinished(Exception):
    """The load failed at or after its commit; the message says what is left to do."""


def next_id(create_table: str) -> int:
    """The id of a table's next row, from its SHOW CREATE TABLE."""
    # The table's options follow the columns' closing `)`; text after a quote could be a comment's.
    found = NEXT_ID.search(create_table)
    return int(found[2]) if found else 1


def find_backup(
    address: str, database: str, deadline: Deadline, tables: tuple[str, ...] = TABLES
) -> Backup:
    """The backup at an address, or in a folder of backups a database's newest one with their rows.

    Raises BadSource if there is none, or none that counts.
    """
    folder = folders.find(address, deadline)
    found = newest.find(folder, database, tables)
    if found is None:
        raise BadSource(
            f"{folder.address} is neither a backup, which has a {MANIFEST}, nor a folder of backups"
        )
    return Backup(found)
