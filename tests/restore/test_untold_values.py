"""Values that their text does not tell: they are stored as they are, and come back."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stored_backup
from conftest import Bucket, Database, Loader
from werkzeug.test import Client

Backup = Callable[..., dict[str, Any]]


def text(characters: str, kind: str = "VARCHAR(20)") -> str:
    return f"{kind} CHARACTER SET {characters}"


UNTOLD = {
    "half a pair": (text("ucs2"), "_binary x'D800'", "2AA="),
    "a pair": (text("ucs2", "TEXT"), "_binary x'0041D83DDE00'", "AEHYPd4A"),
    "half a pair in four bytes": (text("utf32"), "_utf32 x'0000DFFF'", "AADf/w=="),
    "unknown to Unicode": (text("cp1251"), "_binary x'98'", "mA=="),
    "unknown in two bytes": (text("gbk", "LONGTEXT"), "_binary x'C4E3A2AB'", "xOOiqw=="),
    "twice in Unicode": (text("cp932"), "_binary x'EEE0'", "7uA="),
    "a backslash": (text("sjis"), "_binary x'5C'", "XA=="),
}
"""A column's type, a value that its text does not tell, and its bytes as base64."""

MEMBERS = {
    "an error value": ("ENUM('a','','b')", "''", "7", "0"),
    "alone in an ENUM": ("ENUM('')", "''", "7", "0"),
    "first in a SET": ("SET('','y')", "2", "3", "3"),
    "in a SET": ("SET('y','','''')", "5", "2", "2"),
    "beside a parenthesis": ("SET('('')','','b')", "1", "7", "7"),
    "one of 64": (
        f"SET('',{','.join(repr(str(place)) for place in range(63))})",
        "2",
        f"{2**64 - 1}",
        f"{2**64 - 1}",
    ),
}
"""A column's type, a value that its text tells, and another one with its number."""


def bytes_of(database: Database, number: str = "") -> list[tuple[Any, ...]]:
    """The keys of `jobs`, the bytes of the note, and `number`, which may be an expression."""
    return database.execute(f"SELECT id, HEX(note), {number or 0} FROM jobs ORDER BY id")


def add_note(database: Database, kind: str, values: list[str]) -> None:
    """Adds a column to `jobs` and a row for each value."""
    database.execute(f"ALTER TABLE jobs ADD note {kind} NULL")
    with database.connect(init_command="SET sql_mode = ''") as connection:
        for number, value in enumerate(values, start=1):
            connection.query(f"INSERT INTO jobs VALUES ({number}, 'Clerk', {value})")


def restores(run_restore: Loader, answer: dict[str, Any]) -> bool:
    """Whether a restore brings back all rows."""
    loaded = run_restore(answer["backup"], "--replace")
    read, restored, *_ = loaded.outcomes["jobs"]
    return loaded.status == 0 and read == restored


@pytest.mark.parametrize("case", UNTOLD)
def test_texts_are_stored_as_bytes(
    database: Database, bucket: Bucket, run_restore: Loader, take_backup: Backup, case: str
) -> None:
    """A text that does not come back from Unicode is stored and restored as its bytes."""
    if "four bytes" in case and not database.server.is_mariadb:
        pytest.skip("MySQL cannot hold it")
    kind, untold, encoded = UNTOLD[case]
    add_note(database, kind, [untold, "NULL", "''", "'a'"])
    before = bytes_of(database)
    answer = take_backup()
    notes = [row["note"] for row in stored_backup.records(bucket, answer, "jobs")]
    (record,) = stored_backup.invalid_records(bucket, answer, "jobs")
    characters = kind.rpartition(" ")[2]
    assert notes == [None, "", "a"]
    assert record == {
        "table": "jobs",
        "primary_key": {"id": "1"},
        "reason": "note: its text does not tell its value",
        "row": {
            "id": "1",
            "job": "Clerk",
            "note": {"base64": encoded, "character_set": characters},
        },
    }
    assert "warnings" not in stored_backup.entry(answer, "jobs")
    assert restores(run_restore, answer)
    assert bytes_of(database) == before


@pytest.mark.parametrize("case", MEMBERS)
def test_members_are_stored_as_numbers(
    database: Database, bucket: Bucket, run_restore: Loader, take_backup: Backup, case: str
) -> None:
    """An ENUM's error value and a SET's empty member are stored as numbers, and restored."""
    kind, told, untold, number = MEMBERS[case]
    add_note(database, kind, [told, "NULL", untold])
    before = bytes_of(database, "CAST(note AS UNSIGNED)")
    answer = take_backup()
    (record,) = stored_backup.invalid_records(bucket, answer, "jobs")
    assert stored_backup.entry(answer, "jobs")["rows"] == 2
    assert record["row"]["note"] == {"base64": "/w==", "number": number}
    assert restores(run_restore, answer)
    assert bytes_of(database, "CAST(note AS UNSIGNED)") == before


def test_an_empty_geometry(
    database: Database, bucket: Bucket, run_restore: Loader, take_backup: Backup
) -> None:
    """MariaDB's empty value in a geometry column that cannot be NULL is stored and restored."""
    if not database.server.is_mariadb:
        pytest.skip("MySQL cannot hold it")
    database.insert("jobs", [(1, "Clerk")])
    database.execute("ALTER TABLE jobs ADD note POINT NOT NULL")
    database.execute("INSERT INTO jobs VALUES (2, 'Cook', POINT(1, 2))")
    before = bytes_of(database)
    answer = take_backup()
    (record,) = stored_backup.invalid_records(bucket, answer, "jobs")
    assert (record["reason"], record["row"]["note"]) == (
        "note: empty, and no geometry",
        {"base64": ""},
    )
    assert restores(run_restore, answer)
    assert bytes_of(database) == before


def test_a_character_set_that_has_no_binary_collation(
    database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """MariaDB's character set of file names is backed up and restored."""
    if not database.server.is_mariadb:
        pytest.skip("MySQL has no such column")
    add_note(database, text("filename"), ["'a b'", "'é'"])
    before = bytes_of(database)
    assert restores(run_restore, take_backup())
    assert bytes_of(database) == before


def test_a_counter_that_is_null(
    database: Database, bucket: Bucket, run_restore: Loader, take_backup: Backup
) -> None:
    """MariaDB's NULL in an AUTO_INCREMENT column is stored and restored."""
    if not database.server.is_mariadb:
        pytest.skip("MySQL has no such column")
    with database.connect(init_command="SET foreign_key_checks = 0") as connection:
        connection.query("ALTER TABLE jobs MODIFY id INT UNSIGNED NOT NULL")
    add_note(database, "INT AUTO_INCREMENT UNIQUE", ["1", "NULL"])
    before = bytes_of(database)
    answer = take_backup()
    (record,) = stored_backup.invalid_records(bucket, answer, "jobs")
    assert record["reason"] == "note: NULL, which its printed declaration does not allow"
    assert restores(run_restore, answer)
    assert bytes_of(database) == before


@pytest.fixture
def lost_rows(database: Database) -> Iterator[None]:
    """Puts two rows into `jobs` whose text the server cannot convert."""
    long = "CONCAT(REPEAT('x', 2000000), _binary x'98')"
    add_note(database, text("cp1251", "LONGTEXT"), ["'a'", long, long])
    ((packet,),) = database.execute("SELECT @@GLOBAL.max_allowed_packet")
    database.execute("SET GLOBAL max_allowed_packet = 1048576")
    yield
    database.execute("SET GLOBAL max_allowed_packet = %s", (packet,))


def test_rows_that_no_restore_brings_back(
    client: Client,
    database: Database,
    lost_rows: None,
    capsys: pytest.CaptureFixture[str],
    run_restore: Loader,
) -> None:
    """They are counted and named; a truncation refuses after the backup, a restore goes on."""
    taken = client.get("/backup-data")
    jobs = stored_backup.entry(taken.get_json(), "jobs")
    (warning,) = jobs["warnings"]
    assert (taken.status_code, jobs["rows"], jobs["invalid_rows"]) == (200, 1, 2)
    assert warning == (
        'no restore brings back 2 rows of jobs, such as {"id": "2"}:'
        " note: too long for the server to convert"
    )
    log = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["reason"] for line in log if line["severity"] == "WARNING"] == [warning]
    truncated = client.get("/truncate-tables?backup_first=true")
    assert truncated.status_code == 500
    assert truncated.get_json()["error"] == {
        "code": "misconfigured",
        "message": f"nothing is emptied; {warning}",
    }
    assert database.execute("SELECT COUNT(*) FROM jobs") == [(3,)]
    loaded = run_restore(taken.get_json()["backup"], "--replace")
    assert (loaded.status, loaded.outcomes["jobs"][:3]) == (0, (3, 1, 2))
