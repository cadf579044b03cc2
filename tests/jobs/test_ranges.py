"""The distributed backup puts each row into exactly one range."""

import importlib

import pytest
from conftest import Database
from engine import needs_spark

import db
from hiring.avro.schema import read_table
from hiring.deadline import Deadline
from hiring.mysql.statements import select
from hiring.settings import read_settings
from hiring.tables import TABLES

pytestmark = needs_spark  # the module imports it

ROWS = 100


def split(database: Database, most: int) -> list[list[int]]:
    """The numbers of the rows in each range of `employees`."""
    backup = importlib.import_module("jobs.distributed_backup")
    settings = read_settings(database.environment)
    with db.snapshot(settings, Deadline(60)) as connection:
        table = read_table(connection, "employees")
        ((rows,),) = select(connection, "SELECT COUNT(*) FROM employees")
        return [
            [
                number
                for (number,) in select(
                    connection, f"SELECT number FROM employees WHERE {part.condition}"
                )
            ]
            for part in backup.split(connection, table, rows, most)
        ]


def make(database: Database, key: str, values: list[object]) -> None:
    database.execute("DROP TABLE employees")
    database.execute(f"CREATE TABLE employees (number INT NOT NULL, {key}) ENGINE = InnoDB")
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        rows = list(enumerate(values))
        cursor.executemany("INSERT INTO employees VALUES (%s, %s)", rows)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("INT", [7 * number - 300 for number in range(ROWS)]),
        ("BIGINT UNSIGNED", [2**64 - 1 - number for number in range(ROWS)]),
        ("DECIMAL(30, 5)", [f"{number - 50}.00001" for number in range(ROWS)]),
        ("DATE", ["0000-00-00", *(f"20{number:02}-02-28" for number in range(ROWS - 1))]),
        ("DATETIME(6)", [f"2021-01-01 00:00:00.{number:06}" for number in range(ROWS)]),
        ("TIMESTAMP(6)", [f"2021-03-28 01:59:{number % 60:02}.{number}" for number in range(ROWS)]),
        ("VARCHAR(20)", [f"{'aÀñß%'[number % 5]}'\\ %s {number}" for number in range(ROWS)]),
        ("BINARY(3)", [bytes([number, 255 - number, 39]) for number in range(ROWS)]),
    ],
)
def test_each_row_is_in_one_range_of_about_the_same_size(
    database: Database, column: str, values: list[object]
) -> None:
    """Each row is in one range of about the same size, for every type of key."""
    make(database, f"id {column} NOT NULL PRIMARY KEY", values)
    found = split(database, 13)
    assert [len(each) for each in found] == [13] * 7 + [9]
    assert sorted(number for each in found for number in each) == list(range(ROWS))


def test_many_rows_may_share_the_first_column_of_a_key(database: Database) -> None:
    """Rows that share the first column of a key make uneven ranges, each row in exactly one."""
    make(database, "id INT NOT NULL, PRIMARY KEY (id, number)", [n // 40 for n in range(ROWS)])
    found = split(database, 10)
    assert sorted(number for each in found for number in each) == list(range(ROWS))
    assert [len(each) for each in found if each] == [40, 40, 20]


@pytest.mark.parametrize(
    "key",
    [
        "id INT",
        "id ENUM('9', '1', '5', '0') NOT NULL, PRIMARY KEY (id, number)",
        "id DOUBLE NOT NULL, PRIMARY KEY (id, number)",
    ],
)
def test_a_table_that_cannot_be_split_is_one_range(database: Database, key: str) -> None:
    """A table without a primary key, or with an unsuitable one, is one range."""
    make(database, key, ["9", "1", "5", "0"] * 25)
    (rows,) = split(database, 10)
    assert sorted(rows) == list(range(ROWS))


def test_an_empty_table_is_one_empty_range(database: Database) -> None:
    """An empty table is one empty range."""
    assert TABLES[-1] == "employees"
    database.execute("ALTER TABLE employees ADD number INT")
    assert split(database, 1) == [[]]
