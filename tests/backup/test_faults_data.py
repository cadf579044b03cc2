"""Unusual tables are backed up whole."""

import shutil
from typing import Any

import faults
import pytest
import stored_backup
from conftest import ACCOUNT, Bucket, Database
from support import count, get
from werkzeug.test import Client


def test_two_hundred_columns_with_odd_names_are_backed_up(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """A table of 200 columns whose names hold quotes, spaces and reserved words is backed up."""
    odd = ["a b", "back`tick", "100%s", "имя", "名前", "select", "naïve", "x;--", "'", '"']
    names = odd + [f"c{number}" for number in range(190)]
    quoted = ["`" + name.replace("`", "``") + "`" for name in names]
    database.execute(f"ALTER TABLE jobs {', '.join(f'ADD {name} INT NULL' for name in quoted)}")
    database.insert("jobs", [(1, "Clerk", *range(200))])
    status, answer = get(client, "/backup-data")
    assert status == 200, answer
    (row,) = stored_backup.records(bucket, answer, "jobs")
    assert list(row.values()) == [1, "Clerk", *range(200)]


def test_the_largest_id_and_zero_are_backed_up_and_truncated(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """A `backup_first` truncation stores and removes rows with the largest id and with 0."""
    largest = 2**32 - 1
    database.insert("departments", [(largest, "Sales")])
    with database.connect(init_command="SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'") as connection:
        connection.cursor().execute("INSERT INTO jobs VALUES (0, 'Clerk')")
    database.insert("employees", [(largest, "Ada", "2021-06-01", largest, 0)])
    rows = {"departments": 1, "jobs": 1, "employees": 1}
    status, answer = get(client, f"{faults.TRUNCATE}?backup_first=true")
    assert (status, answer["rows"]) == (200, rows)
    (row,) = stored_backup.records(bucket, answer["backup"], "employees")
    assert (row["id"], row["department_id"], row["job_id"]) == (largest, largest, 0)
    assert count(database) == dict.fromkeys(rows, 0)


def test_a_latin1_text_of_any_bytes_is_backed_up(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """A latin1 text of any bytes is stored as the characters that the server reads in it."""
    database.execute("ALTER TABLE jobs ADD note VARCHAR(300) CHARACTER SET latin1 NULL")
    database.execute("INSERT INTO jobs VALUES (1, 'Clerk', X'C328FFFE41')")
    ((note,),) = database.execute("SELECT note FROM jobs")
    status, answer = get(client, "/backup-data")
    assert status == 200
    (row,) = stored_backup.records(bucket, answer, "jobs")
    assert (row["note"], len(note)) == (note, 5)


def test_an_invisible_column_that_the_account_may_not_read(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """No backup is complete without a column that the server hides from the account."""
    database.execute("ALTER TABLE jobs ADD salary INT INVISIBLE NULL")
    database.execute(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {ACCOUNT}")
    database.execute(f"GRANT DROP, SHOW VIEW ON {database.name}.* TO {ACCOUNT}")
    for table, columns in {"departments": "", "jobs": "(id, job)", "employees": ""}.items():
        database.execute(f"GRANT SELECT {columns} ON {database.name}.{table} TO {ACCOUNT}")
    status, answer = get(client, "/backup-data")
    assert (status, answer["error"]["code"]) == (500, "misconfigured")
    assert "may not read every column of table jobs" in answer["error"]["message"]


def test_a_name_that_is_no_utf8(client: Client, database: Database, bucket: Bucket) -> None:
    """Half a surrogate pair in a name, which MariaDB takes, stops no backup and no report."""
    if not database.server.is_mariadb:
        pytest.skip("MySQL refuses it")
    database.insert("departments", [(1, "Sales")])
    database.execute("INSERT INTO jobs VALUES (2, CONVERT(_ucs2 x'D83D0041' USING utf8mb3))")
    database.insert("employees", [(3, "Ada", "2021-02-03 04:05:06", 1, 2)])
    status, answer = get(client, "/backup-data")
    assert (status, stored_backup.entry(answer, "jobs")["invalid_rows"]) == (200, 1)
    assert get(client, "/quarterly-hired?format=json") == (
        200,
        [{"department": "Sales", "job": "\ufffd\ufffd\ufffdA", "Q1": 1, "Q2": 0, "Q3": 0, "Q4": 0}],
    )


def damage(database: Database, column: str, bytes_of_rows: list[str]) -> None:
    """Puts bytes into the names of employees that the server would not store."""
    others = "datetime DATETIME, department_id INT, job_id INT"
    database.execute("DROP TABLE employees")
    database.execute(f"CREATE TABLE employees (id INT PRIMARY KEY, name {column}, {others})")
    database.execute(f"CREATE TABLE source (id INT PRIMARY KEY, name VARBINARY(60), {others})")
    for number, content in enumerate(bytes_of_rows, start=1):
        database.execute(f"INSERT INTO source (id, name) VALUES ({number}, x'{content}')")
    database.execute("ALTER TABLE employees DISCARD TABLESPACE")
    folder = database.server.data / database.name
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("FLUSH TABLES source FOR EXPORT")
        shutil.copy(folder / "source.ibd", folder / "employees.ibd")
    database.execute("ALTER TABLE employees IMPORT TABLESPACE")


@pytest.mark.parametrize("characters", ["utf8mb4", "utf8mb3"])
def test_damaged_text_is_kept_and_told(
    client: Client, database: Database, bucket: Bucket, characters: str
) -> None:
    """Bytes that are no UTF-8 are kept as they are, with a warning: never a question mark."""
    damage(database, f"VARCHAR(15) CHARACTER SET {characters}", ["FF41", "41FF42", "C3A9"])
    status, answer = get(client, "/backup-data")
    assert status == 200, answer
    (row,) = stored_backup.records(bucket, answer, "employees")
    assert row["name"] == "é"
    records = stored_backup.invalid_records(bucket, answer, "employees")
    found: list[Any] = [(each["row"]["name"], each["reason"]) for each in records]
    assert found == [
        ({"base64": "/0E="}, "name: not valid UTF-8"),
        ({"base64": "Qf9C"}, "name: not valid UTF-8"),
    ]
    assert "2 rows of employees" in stored_backup.entry(answer, "employees")["warnings"][0]
    refused, told = get(client, f"{faults.TRUNCATE}?backup_first=true")
    assert (refused, told["error"]["code"]) == (500, "misconfigured")
    assert count(database)["employees"] == 3
