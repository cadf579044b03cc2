"""Unusual tables are backed up whole."""

import faults
import stored_backup
from conftest import Bucket, Database
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
