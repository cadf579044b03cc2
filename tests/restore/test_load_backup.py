"""A loaded backup gives the same rows, ids and counters; what is refused changes nothing."""

import contextlib
import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import every_type
import fastavro
import pytest
from conftest import PASSWORD, Bucket, Database, Loader
from forwarder import Forwarder
from stored_backup import download, path, records, rewrite
from support import content, some

from hiring.avro import container
from hiring.mysql import login
from hiring.mysql.connection import Connection
from local.database import DatabaseServer

TABLES = ("departments", "jobs", "employees")
Backup = Callable[..., dict[str, Any]]


@pytest.fixture
def rows(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """A few rows for each table, with unusual names."""
    database.insert("departments", [(1, "Sales"), (7, "O'Neill's \\ café")])
    database.insert("jobs", [(3, "Clerk"), (4, '🦄 "tamer"')])
    database.insert(
        "employees",
        [(5, "Ana", "2021-02-03 04:05:06", 1, 3), (9, "Bo; DROP", "2020-01-01 00:00:00", 7, 4)],
    )
    return content(database)


def checksums(database: Database) -> list[tuple[str, int]]:
    """The CHECKSUM TABLE of the three tables."""
    return [
        (name.split(".")[1], checksum)
        for name, checksum in database.execute(f"CHECKSUM TABLE {', '.join(TABLES)}")
    ]


def create_statements(database: Database) -> list[str]:
    return [database.execute(f"SHOW CREATE TABLE {table}")[0][1] for table in TABLES]


# The same rows


def test_every_type_is_restored_exactly(
    database: Database,
    empty_database: Database,
    bucket: Bucket,
    run_restore: Loader,
    take_backup: Backup,
) -> None:
    """A restore into an empty database gives the same rows, checksums and next ids."""
    database.insert("departments", [(1, "Sales"), (7, "O'Neill's \\ café")])
    every_type.create(database)
    every_type.fill(database)
    answer = take_backup()
    loaded = run_restore(answer["backup"], DB_NAME=empty_database.name)
    assert (loaded.status, loaded.outcomes["employees"]) == (0, (6, 6, 0, "")), loaded.log
    assert checksums(empty_database) == checksums(database)
    assert create_statements(empty_database) == create_statements(database)
    again = take_backup(empty_database)
    for table in TABLES:
        assert records(bucket, again, table) == records(bucket, answer, table)


BYTES = ("bits", "binary_", "varbinary_", "tinyblob_", "blob_", "mediumblob_", "longblob_")
SHAPES = ("geometry_", "point_", "line_", "polygon_", "points_", "collection_")


@pytest.fixture(params=["LOAD DATA", "INSERT"])
def way(request: pytest.FixtureRequest, server: DatabaseServer) -> Iterator[str]:
    """The statement that sends rows: the server allows LOAD DATA LOCAL, or it does not."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.local_infile")
        (before,) = cursor.fetchone()
        cursor.execute("SET GLOBAL local_infile = %s", (request.param == "LOAD DATA",))
        try:
            yield request.param
        finally:
            cursor.execute("SET GLOBAL local_infile = %s", (before,))


@pytest.mark.slow
def test_every_type_is_restored_exactly_in_both_ways(
    database: Database,
    empty_database: Database,
    run_restore: Loader,
    take_backup: Backup,
    environment: pytest.MonkeyPatch,
    way: str,
) -> None:
    """LOAD DATA and INSERT restore the same rows, short and long, with the same CHECKSUM TABLE."""
    sent = []
    send_lines = Connection.send_lines

    def counted(connection: Connection, statement: str, lines: bytes) -> int:
        sent.append(lines.count(b"\n"))
        return send_lines(connection, statement, lines)

    environment.setattr(Connection, "send_lines", counted)
    columns = {
        name: kind for name, kind in every_type.COLUMNS.items() if name not in BYTES + SHAPES
    }
    every_type.create(database, columns=columns)
    every_type.fill(database)
    database.execute("DELETE FROM employees WHERE LENGTH(text_) > 1000")
    database.insert("departments", [(5, ""), (1, "a\tb\nc\\d\\N'\r\x00\x1a"), (2, "\\N")])
    database.insert("jobs", [(number, "x" * 200) for number in range(1, 20_001)])
    assert run_restore(take_backup()["backup"], DB_NAME=empty_database.name).status == 0
    assert checksums(empty_database) == checksums(database)
    assert (sum(sent) > 20_000) == (way == "LOAD DATA")


@pytest.mark.parametrize("change", some(["ADD UNIQUE (name(1))", "ADD CHECK (name <> 'Ada')"]))
def test_a_row_that_is_refused_rolls_everything_back_in_both_ways(
    database: Database, run_restore: Loader, take_backup: Backup, way: str, change: str
) -> None:
    """A row that LOAD DATA skips or INSERT refuses rolls everything back."""
    database.insert("departments", [(1, "Sales")])
    database.insert("jobs", [(1, "Clerk")])
    for number, name in ((1, "Ana"), (2, "Bob"), (3, "Ada")):
        database.insert("employees", [(number, name, "2021-02-03", 1, 1)])
    backup = take_backup()["backup"]
    database.execute("DELETE FROM employees")
    database.execute(f"ALTER TABLE employees {change}")
    before = content(database)
    loaded = run_restore(backup, "--replace")
    assert loaded.status == 4
    assert loaded.error.startswith("nothing was loaded: table employees"), loaded.error
    assert content(database) == before


def test_json_that_text_cannot_express_is_the_same_json(
    database: Database, empty_database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """MySQL's JSON with DECIMAL, DATE and binary scalars comes back with every digit.

    A row may be an invalid record for another column.
    """
    if database.server.is_mariadb:
        pytest.skip("MariaDB keeps JSON as text")
    every_type.create(database, columns={"json_": "JSON", "date_": "DATE"})
    random_ = random.Random(1)
    doubles = [random_.uniform(-9, 9) * 10.0 ** random_.randint(-300, 300) for _ in range(300)]
    values = [
        "JSON_OBJECT('on', CAST('2021-01-02' AS DATE), 'raw', x'00ff')",
        "JSON_OBJECT('price', 1.10, 'none', NULL)",
        r"""JSON_OBJECT('"b" \\\\ ü', JSON_ARRAY(1, JSON_OBJECT('', -0.12345678901234567890)))""",
        "JSON_ARRAY(CAST(123456789012345678901234 AS DECIMAL(30)))",
        "JSON_ARRAY(CAST(100000000000000000000 AS DECIMAL(21)))",
        "CAST(CAST('0.000000000000000000000000000001' AS DECIMAL(65,30)) AS JSON)",
        "JSON_ARRAY(1000000000000000.0, 0.00, 1e15, 1e-15, 1e-16, -0e0)",
        f"JSON_ARRAY({'9' * 65}, 18446744073709551616, 5.00)",
        *(f"JSON_ARRAY(CAST('{each!r}' AS DOUBLE))" for each in doubles),
    ]
    with database.connect(init_command="SET sql_mode = ''") as connection:
        for value in values:
            connection.query(f"INSERT INTO employees (json_) VALUES ({value})")
            connection.query(f"INSERT INTO employees (json_, date_) VALUES ({value}, '0000-00-00')")
    found = "SELECT id, CAST(json_ AS CHAR), date_ FROM employees ORDER BY id"
    loaded = run_restore(take_backup()["backup"], DB_NAME=empty_database.name)
    assert (loaded.status, loaded.outcomes["employees"][2]) == (0, 0)
    assert empty_database.execute(found) == database.execute(found)
    assert empty_database.execute(
        "SELECT JSON_TYPE(JSON_EXTRACT(json_, '$.price')), JSON_EXTRACT(json_, '$.price')"
        " FROM employees WHERE id = 3"
    ) == [("DECIMAL", "1.10")]


def test_values_that_strict_mode_refuses_are_restored(
    database: Database, empty_database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """An ENUM's error value and an id of 0 are restored, although strict mode refuses them."""
    every_type.create(database, columns={"enum_": "ENUM('a') NOT NULL"})
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
        cursor.execute("INSERT INTO employees (id, enum_) VALUES (0, 'neither'), (1, 'a')")
    assert run_restore(take_backup()["backup"], DB_NAME=empty_database.name).status == 0
    assert empty_database.execute("SELECT id, enum_, enum_ + 0 FROM employees") == [
        (0, "", 0),
        (1, "a", 1),
    ]


def test_rows_that_refer_to_rows_of_their_own_table_are_restored(
    database: Database, empty_database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """Rows that refer to later rows of their own table are restored and replaced."""
    every_type.create(database, columns={"manager": "BIGINT"})
    database.execute("ALTER TABLE employees ADD FOREIGN KEY (manager) REFERENCES employees (id)")
    database.execute("INSERT INTO employees (id, manager) VALUES (1, NULL), (2, 1)")
    database.execute("UPDATE employees SET manager = 2 WHERE id = 1")
    backup = take_backup()["backup"]
    assert run_restore(backup, DB_NAME=empty_database.name).status == 0
    assert run_restore(backup, "--replace", DB_NAME=empty_database.name).status == 0
    assert empty_database.execute("SELECT id, manager FROM employees ORDER BY id") == [
        (1, 2),
        (2, 1),
    ]


def test_tables_that_refer_to_each_other_are_restored(
    database: Database,
    empty_database: Database,
    run_restore: Loader,
    take_backup: Backup,
    rows: dict[str, list[tuple[Any, ...]]],
) -> None:
    """Foreign keys among the three may point in any direction, in circles and to themselves."""
    for table in ("departments", "jobs"):
        database.execute(f"ALTER TABLE {table} ADD head INT UNSIGNED")
        database.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {table}_head FOREIGN KEY (head)"
            " REFERENCES employees (id) ON DELETE CASCADE"
        )
        database.execute(f"UPDATE {table} SET head = 9")
    database.execute("ALTER TABLE departments ADD part_of INT UNSIGNED")
    database.execute(
        "ALTER TABLE departments ADD FOREIGN KEY (part_of) REFERENCES departments (id)"
    )
    database.execute("UPDATE departments SET part_of = 8 - id")
    backup = take_backup()["backup"]
    before, tables = checksums(database), create_statements(database)
    for options in ([], ["--replace"]):
        loaded = run_restore(backup, *options, DB_NAME=empty_database.name)
        assert loaded.status == 0, loaded.error
        assert checksums(empty_database) == before
        assert create_statements(empty_database) == tables
    database.execute("UPDATE departments SET head = 5, part_of = NULL")
    assert run_restore(backup, "--replace").status == 0
    assert checksums(database) == before


def test_next_ids_are_those_of_the_backup(
    database: Database, run_restore: Loader, take_backup: Backup, rows: Any
) -> None:
    """The next ids become those of the backup, whether the table's are lower or higher."""
    database.execute("ALTER TABLE employees AUTO_INCREMENT = 500")
    backup = take_backup()["backup"]
    database.execute("ALTER TABLE employees AUTO_INCREMENT = 9000")
    database.execute("ALTER TABLE jobs AUTO_INCREMENT = 9000")
    assert run_restore(backup, "--replace").status == 0
    database.execute("INSERT INTO jobs (job) VALUES ('next')")
    database.execute(
        "INSERT INTO employees (name, datetime, department_id, job_id)"
        " VALUES ('next', '2022-01-01', 1, 3)"
    )
    assert database.execute("SELECT MAX(id) FROM employees") == [(500,)]
    assert database.execute("SELECT MAX(id) FROM jobs") == [(5,)]


def test_empty_tables_are_restored_empty(
    database: Database, empty_database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """A backup without rows is restored as empty tables."""
    loaded = run_restore(take_backup()["backup"], DB_NAME=empty_database.name)
    assert (loaded.status, loaded.outcomes) == (0, dict.fromkeys(TABLES, (0, 0, 0, "")))
    assert content(empty_database) == {table: [] for table in TABLES}


def test_a_backup_on_this_machine_is_loaded(
    tmp_path: Path,
    database: Database,
    bucket: Bucket,
    run_restore: Loader,
    take_backup: Backup,
    rows: Any,
) -> None:
    """A backup copied to this machine loads without a bucket, even from the folder above it."""
    copy = download(bucket, take_backup(), tmp_path)
    for source in (copy, copy.parent):
        assert run_restore(source, "--replace", GCS_PATH="").status == 0
        assert content(database) == rows


def test_the_newest_complete_backup_is_taken(
    database: Database, bucket: Bucket, run_restore: Loader, take_backup: Backup, rows: Any
) -> None:
    """A folder of backups loads the newest complete one, and the log names it."""
    take_backup()
    database.execute("DELETE FROM employees WHERE id = 9")
    newest = take_backup()
    bucket.blob("hiring/backups/29990101T000000.000000Z/jobs.avro").upload_from_string("half")
    loaded = run_restore(f"gs://{bucket.name}/hiring/backups/", "--replace")
    assert (loaded.status, loaded.outcomes["employees"]) == (0, (1, 1, 0, ""))
    assert loaded.log[0] | {"message": "backup found", "backup": newest["backup"]} == loaded.log[0]


LIES = {
    "a missing object": lambda folder: (folder / "jobs.avro").unlink(),
    "a shorter object": lambda folder: (folder / "jobs.avro").write_bytes(b"Obj"),
    "a missing schema": lambda folder: (folder / "schema.sql").unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").write_text("{}"),
}


@pytest.mark.once
@pytest.mark.parametrize("lie", some(LIES, 2))
def test_a_backup_that_is_not_whole_is_passed_over(
    tmp_path: Path,
    database: Database,
    bucket: Bucket,
    run_restore: Loader,
    take_backup: Backup,
    rows: Any,
    lie: Callable[[Path], Any],
) -> None:
    """A newer backup that lacks an object is passed over, and a log line says what it lacks."""
    whole = download(bucket, take_backup(), tmp_path)
    database.execute("DELETE FROM employees")
    newest = download(bucket, take_backup(), tmp_path)
    lie(newest)
    loaded = run_restore(whole.parent, "--replace")
    assert loaded.status == 0, loaded.error
    assert content(database) == rows
    (passed,) = (line for line in loaded.log if line["message"] == "backup passed over")
    assert (passed["severity"], passed["backup"]) == ("WARNING", f"{newest}/")
    lie(whole)
    loaded = run_restore(whole.parent, "--replace")
    assert loaded.status == 3
    assert content(database) == rows


@pytest.mark.slow
def test_large_values_and_many_statements(
    database: Database, empty_database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """Rows of megabytes and thousands of short rows are loaded in statements the server accepts."""
    every_type.create(database, columns={"longblob_": "LONGBLOB"})
    database.execute("INSERT INTO employees (longblob_) VALUES (REPEAT(x'275cff', 2500000))")
    database.insert("jobs", [(number, "x" * 200) for number in range(1, 20_001)])
    assert run_restore(take_backup()["backup"], DB_NAME=empty_database.name).status == 0
    assert checksums(empty_database) == checksums(database)


PACKET = 1024 * 1024
HEAD = "INSERT INTO `jobs` (`id`, `job`) VALUES "


@contextlib.contextmanager
def small_packets(server: DatabaseServer) -> Iterator[None]:
    """Makes the server accept packets shorter than PACKET only, from new connections."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.max_allowed_packet")
        (before,) = cursor.fetchone()
        cursor.execute("SET GLOBAL max_allowed_packet = %s", (PACKET,))
        try:
            yield
        finally:
            cursor.execute("SET GLOBAL max_allowed_packet = %s", (before,))


@pytest.mark.parametrize("below", some(range(4)))
def test_statements_just_below_the_longest_packet(
    database: Database, run_restore: Loader, take_backup: Backup, server: DatabaseServer, below: int
) -> None:
    """Two rows load in one statement or in two, however close to max_allowed_packet both come."""
    database.execute("ALTER TABLE jobs MODIFY job LONGTEXT")
    spare = PACKET - below - len(f"{HEAD}(1,''),(2,'')")
    database.insert("jobs", [(1, "x" * (spare // 2)), (2, "y" * (spare - spare // 2))])
    backup, before = take_backup()["backup"], checksums(database)
    with small_packets(server):
        loaded = run_restore(backup, "--replace")
    assert loaded.status == 0, loaded.error
    assert checksums(database) == before


@pytest.mark.parametrize("below", some(range(4)))
def test_a_row_that_just_exceeds_the_longest_packet_is_named(
    database: Database, run_restore: Loader, take_backup: Backup, server: DatabaseServer, below: int
) -> None:
    """A row loads up to two bytes below max_allowed_packet; a longer one is refused, status 4."""
    database.execute("ALTER TABLE jobs MODIFY job LONGTEXT")
    database.insert("jobs", [(1, "x" * (PACKET - below - len(f"{HEAD}(1,'')")))])
    backup, before = take_backup()["backup"], checksums(database)
    with small_packets(server):
        loaded = run_restore(backup, "--replace")
    assert checksums(database) == before
    if below >= 2:
        assert loaded.status == 0, loaded.error
        return
    assert loaded.status == 4
    assert loaded.error == (
        f"nothing was loaded: a row of table jobs takes {PACKET - below} bytes as SQL, the server's"
        f" max_allowed_packet allows {PACKET - 2}"
    )


@pytest.fixture
def slow_line(tmp_path: Path, database: Database) -> Iterator[str]:
    """A socket that passes 4 MB a second on to the server."""
    forwarder = Forwarder(tmp_path / "s", database.server.port)
    forwarder.bytes_per_second = 4e6
    yield str(tmp_path / "s")
    forwarder.close()


@pytest.mark.slow
def test_a_long_row_over_a_slow_line_is_restored(
    database: Database,
    run_restore: Loader,
    take_backup: Backup,
    environment: pytest.MonkeyPatch,
    slow_line: str,
) -> None:
    """A statement may take longer than the write timeout as long as its bytes move."""
    database.execute("ALTER TABLE jobs MODIFY job LONGTEXT")
    database.insert("jobs", [(1, "x" * 14_000_000)])
    before = checksums(database)
    backup = take_backup()["backup"]
    environment.setattr(login, "CONNECT_SECONDS", 1)
    loaded = run_restore(backup, "--replace", DB_SOCKET=slow_line)
    assert loaded.status == 0, loaded.error
    assert checksums(database) == before


# Invalid records


def test_invalid_records_are_restored(
    database: Database, empty_database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """Dates that Avro cannot hold are restored unchanged, beside values of every type."""
    every_type.create(database)
    every_type.fill(database)
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = 'ALLOW_INVALID_DATES'")
        cursor.execute("UPDATE employees SET date_ = '0000-00-00' WHERE tiny = 127")
        cursor.execute("UPDATE employees SET datetime = '2021-02-31 01:02:03' WHERE tiny = -128")
        cursor.execute("UPDATE employees SET timestamp_ = '0000-00-00 00:00:00' WHERE id = 0")
    answer = take_backup()
    assert answer["tables"][2]["invalid_rows"] == 3
    loaded = run_restore(answer["backup"], DB_NAME=empty_database.name)
    assert (loaded.status, loaded.outcomes["employees"]) == (0, (6, 6, 0, ""))
    assert checksums(empty_database) == checksums(database)


def test_refused_invalid_records_are_reported(
    tmp_path: Path,
    database: Database,
    bucket: Bucket,
    run_restore: Loader,
    take_backup: Backup,
    rows: Any,
) -> None:
    """Invalid records that the server rejects are counted and named; the rest is loaded."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = 'ALLOW_INVALID_DATES'")
        cursor.executemany(
            "INSERT INTO employees VALUES (%s, 'Zoë', '2021-02-31', 1, 3)",
            [(number,) for number in range(100, 1100)],
        )
    copy = download(bucket, take_backup(), tmp_path)
    lines = (copy / "invalid/employees.jsonl").read_text().splitlines()
    lines[3] = lines[3].replace("2021-02-31", "2021-13-45")
    lines[900] = lines[900].replace('"id": "1000"', '"id": "5"')
    rewrite(copy, "invalid/employees.jsonl", "\n".join([*lines, ""]).encode())
    loaded = run_restore(copy, "--replace")
    where = f"{copy}/invalid/employees.jsonl"
    assert (loaded.status, loaded.outcomes["employees"]) == (0, (1002, 1000, 2, where))
    refused = [line for line in loaded.log if line["message"] == "invalid record rejected"]
    assert [line["record"] for line in refused] == [f"{where} line 4", f"{where} line 901"]
    assert database.execute("SELECT COUNT(*) FROM employees WHERE id IN (103, 1000)") == [(0,)]


# A row that the server refuses or changes


CHANGES = {
    "refused": "ALTER TABLE employees ADD CHECK (name <> 'Bo; DROP')",
    "twice": "ALTER TABLE employees ADD UNIQUE (department_id), ADD UNIQUE (name(1))",
    "too long": "ALTER TABLE employees MODIFY name VARCHAR(5) NOT NULL",
    "another character set": "ALTER TABLE jobs MODIFY job VARCHAR(99) CHARACTER SET latin1",
    "fractions cut": "ALTER TABLE employees MODIFY datetime DATETIME",
    "NULL": "ALTER TABLE employees MODIFY name VARCHAR(255) NOT NULL",
}


@pytest.mark.parametrize("change", some(CHANGES, 3))
def test_a_refused_or_changed_row_rolls_everything_back(
    database: Database, run_restore: Loader, take_backup: Backup, rows: Any, change: str
) -> None:
    """A row that the server refuses or silently changes rolls back, and the old rows stay."""
    database.execute("ALTER TABLE employees MODIFY datetime DATETIME(6) NOT NULL")
    database.execute("ALTER TABLE employees MODIFY name VARCHAR(255) NULL")
    database.execute("INSERT INTO employees VALUES (300, NULL, '2021-01-01 00:00:00.5', 1, 3)")
    database.execute("UPDATE employees SET department_id = 1")
    backup = take_backup()["backup"]
    for table in reversed(TABLES):
        database.execute(f"DELETE FROM {table}")
    database.execute(change)
    database.insert("departments", [(99, "Old")])
    before = content(database)
    loaded = run_restore(backup, "--replace")
    assert loaded.status == 4
    assert loaded.error.startswith("nothing was loaded: table "), loaded.error
    assert content(database) == before


def test_a_changed_row_with_a_binary_key_is_named(
    database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """A key whose bytes are no text is sought and named as any other: status 4."""
    database.execute("ALTER TABLE employees DROP FOREIGN KEY employees_department")
    database.execute("ALTER TABLE departments MODIFY id BINARY(4) NOT NULL")
    database.execute("INSERT INTO departments VALUES (x'FFFEFD41', 'Sales')")
    backup = take_backup()["backup"]
    database.execute("DELETE FROM departments")
    database.execute("ALTER TABLE departments MODIFY department VARCHAR(3) NOT NULL")
    loaded = run_restore(backup)
    assert loaded.status == 4
    key = r"_binary'\xff\xfe\xfdA'"
    assert f"the row with id {key} was 'Sales' and is 'Sal'" in loaded.error


def test_a_server_that_keeps_no_warnings_refuses_a_row_as_any_other(
    database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """Where max_error_count is 0, a row that the server changes is still named: status 4."""
    database.insert("departments", [(1, "Sales")])
    backup = take_backup()["backup"]
    database.execute("DELETE FROM departments")
    database.execute("ALTER TABLE departments MODIFY department VARCHAR(3) NOT NULL")
    database.execute("SET GLOBAL max_error_count = 0")
    try:
        loaded = run_restore(backup)
    finally:
        database.execute("SET GLOBAL max_error_count = DEFAULT")
    assert loaded.status == 4
    changed = "column department of the row with id 1 was 'Sales' and is 'Sal'"
    assert changed in loaded.error
    assert loaded.error.endswith("the database gave no warning")


# The tables as they are


def test_tables_with_rows_are_refused(
    database: Database, run_restore: Loader, take_backup: Backup, rows: Any
) -> None:
    """Without --replace, tables that hold rows are refused by name and stay unchanged."""
    backup = take_backup()["backup"]
    database.execute("DELETE FROM employees")
    loaded = run_restore(backup)
    assert loaded.status == 2
    assert loaded.error == (
        "nothing was loaded: departments, jobs already hold rows; --replace replaces them"
    )
    assert content(database) == rows | {"employees": []}


STATES = {
    "a view": (
        ["RENAME TABLE employees TO real_ones", "CREATE VIEW employees AS SELECT * FROM real_ones"],
        2,
        "employees is not a base table but a VIEW",
    ),
    "a trigger": (
        ["CREATE TRIGGER stamp BEFORE INSERT ON jobs FOR EACH ROW SET NEW.job = 'x'"],
        2,
        "table jobs has a trigger, stamp, which a load would fire",
    ),
    "a foreign key": (
        ["CREATE TABLE badges (id INT UNSIGNED, FOREIGN KEY (id) REFERENCES employees (id))"],
        2,
        "badges would be orphaned",
    ),
    "another engine": (
        [
            "ALTER TABLE employees DROP FOREIGN KEY employees_job",
            "ALTER TABLE jobs ENGINE = MyISAM",
        ],
        2,
        "table jobs is not InnoDB but MyISAM",
    ),
    "another type": (
        ["ALTER TABLE employees MODIFY datetime VARCHAR(30)"],
        3,
        "employees.avro: column datetime was datetime, in table employees it is varchar(30)",
    ),
    "a column less": (["ALTER TABLE jobs DROP job"], 3, "jobs.avro: table jobs has no column job"),
    "a column more": (
        ["ALTER TABLE jobs ADD grade INT"],
        3,
        "jobs.avro has no column grade, table jobs has",
    ),
    "a type without Avro": (
        ["DROP TABLE employees", "CREATE TABLE employees (id INT, a INT) ENGINE = InnoDB"],
        3,
        "employees.avro: table employees has no column name",
    ),
}


@pytest.mark.parametrize(("statements", "status", "reason"), some(STATES, 4))
def test_unfit_tables_are_refused(
    database: Database,
    run_restore: Loader,
    take_backup: Backup,
    rows: Any,
    statements: list[str],
    status: int,
    reason: str,
) -> None:
    """Unfit tables are refused with the reason, also in a dry run, and stay unchanged."""
    backup = take_backup()["backup"]
    for statement in statements:
        database.execute(statement)
    before = content(database)
    for options in (["--replace"], ["--replace", "--dry-run"]):
        loaded = run_restore(backup, *options)
        assert (loaded.status, reason in loaded.error) == (status, True), loaded.error
    assert content(database) == before


@pytest.fixture
def operator(database: Database) -> Iterator[dict[str, str]]:
    """The settings of an account with the rights of a load, but without ALTER and CREATE."""
    database.execute("CREATE USER operator@'%%' IDENTIFIED BY %s", (PASSWORD,))
    database.execute(
        f"GRANT SELECT, INSERT, DELETE, LOCK TABLES, TRIGGER ON {database.name}.* TO operator@'%'"
    )
    database.execute("GRANT REFERENCES ON *.* TO operator@'%'")
    yield {"DB_USER": "operator", "DB_PASS": PASSWORD}
    database.execute("DROP USER operator@'%'")


def test_a_next_id_that_cannot_be_set_is_status_6(
    database: Database,
    run_restore: Loader,
    take_backup: Backup,
    rows: Any,
    operator: dict[str, str],
) -> None:
    """A next id that cannot be set is status 6 with all rows loaded; a right one is status 0."""
    backup = take_backup()["backup"]
    assert run_restore(backup, "--replace", **operator).status == 0
    database.execute("ALTER TABLE jobs AUTO_INCREMENT = 9000")
    database.execute("DELETE FROM employees")
    loaded = run_restore(backup, "--replace", **operator)
    assert loaded.status == 6
    assert "all rows are loaded, but the next id of jobs could not be set to 5" in loaded.error
    assert content(database) == rows


def test_a_missing_right_is_named(
    empty_database: Database,
    database: Database,
    run_restore: Loader,
    take_backup: Backup,
    rows: Any,
    operator: dict[str, str],
) -> None:
    """A missing right to insert or create is status 2 and named, and nothing changes."""
    backup = take_backup()["backup"]
    database.execute(f"REVOKE INSERT ON {database.name}.* FROM operator@'%'")
    loaded = run_restore(backup, "--replace", **operator)
    assert (loaded.status, "INSERT" in loaded.error) == (2, True), loaded.error
    assert content(database) == rows
    database.execute(f"GRANT SELECT ON {empty_database.name}.* TO operator@'%'")
    loaded = run_restore(backup, DB_NAME=empty_database.name, **operator)
    assert (loaded.status, "CREATE" in loaded.error) == (2, True), loaded.error


def test_a_dry_run_changes_nothing(
    database: Database,
    empty_database: Database,
    bucket: Bucket,
    run_restore: Loader,
    take_backup: Backup,
    rows: Any,
) -> None:
    """A dry run changes no row, table or bucket; its table shows the outcome."""
    backup = take_backup()["backup"]
    objects = bucket.blobs()
    database.execute("DELETE FROM employees WHERE id = 9")
    before = content(database)
    expected = {"departments": (2, 2, 0, ""), "jobs": (2, 2, 0, ""), "employees": (2, 2, 0, "")}
    assert run_restore(backup, "--replace", "--dry-run").outcomes == expected
    assert run_restore(backup, "--dry-run", DB_NAME=empty_database.name).outcomes == expected
    assert (content(database), bucket.blobs()) == (before, objects)
    assert empty_database.execute("SHOW TABLES") == []


def test_a_missing_table_that_the_server_cannot_create_is_named(
    tmp_path: Path,
    empty_database: Database,
    bucket: Bucket,
    run_restore: Loader,
    take_backup: Backup,
    rows: Any,
) -> None:
    """A missing table with another server's collation is refused: the operator must create it."""
    copy = download(bucket, take_backup(), tmp_path)
    schema = (copy / "schema.sql").read_text()
    rewrite(copy, "schema.sql", schema.replace("utf8mb4", "utf8mb5").encode())
    loaded = run_restore(copy, DB_NAME=empty_database.name)
    assert loaded.status == 2
    assert loaded.error.startswith("nothing was loaded: table employees is missing, and this")
    assert loaded.error.endswith("create the table, then load again")


# The source as it is


def test_a_source_that_is_not_a_backup_is_refused(
    tmp_path: Path, bucket: Bucket, database: Database, run_restore: Loader
) -> None:
    """A folder that is missing, empty or without a manifest is status 3; a missing bucket is 5."""
    (tmp_path / "departments.avro").touch()
    bucket.blob("hiring/backups/one/jobs.avro").upload_from_string("half")
    for source in (
        tmp_path / "missing",
        tmp_path,
        "gs://",
        f"gs://{bucket.name}/hiring/backups/",
        f"gs://{bucket.name}/hiring/backups/one",
    ):
        loaded = run_restore(source)
        assert (loaded.status, "nothing was loaded: " in loaded.error) == (3, True)
    loaded = run_restore(f"gs://{bucket.name}-missing/")
    assert (loaded.status, f"bucket {bucket.name}-missing refused" in loaded.error) == (5, True)


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "flipped": flip,
    "first byte": lambda content: b"x" + content[1:],
    "truncated": lambda content: content[:-1],
    "empty": lambda _: b"",
    "longer": lambda content: content + b"\0",
}
FILES = ("departments.avro", "employees.avro", "invalid/employees.jsonl", "schema.sql")


@pytest.mark.parametrize("damage", some(DAMAGES, 2))
@pytest.mark.parametrize("file", some(FILES, 2))
def test_damaged_objects_are_refused(
    database: Database,
    bucket: Bucket,
    run_restore: Loader,
    take_backup: Backup,
    rows: Any,
    file: str,
    damage: Callable[[bytes], bytes],
) -> None:
    """A damaged object is refused by name, and nothing is written."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute("INSERT INTO employees VALUES (10, 'Eve', '0000-00-00', 1, 3)")
    answer = take_backup()
    blob = bucket.blob(path(answer) + file)
    blob.upload_from_string(damage(blob.download_as_bytes()))
    before = checksums(database)
    loaded = run_restore(answer["backup"], "--replace")
    assert loaded.status == 3
    assert loaded.error.startswith(f"nothing was loaded: {answer['backup']}{file} has "), loaded
    assert checksums(database) == before
    blob.delete()
    assert run_restore(answer["backup"], "--replace").error == (
        f"nothing was loaded: {answer['backup']}{file} is not there"
    )
    assert checksums(database) == before


def edit(manifest: dict[str, Any], *path: Any, value: Any) -> dict[str, Any]:
    """Changes one value of the manifest."""
    place: Any = manifest
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return manifest


EDITS = [
    (["format"], 2),
    (["tables"], []),
    (["tables", 0, "table"], "jobs"),
    (["tables", 2, "rows"], 1),
    (["tables", 2, "objects", 0, "rows"], 1),
    (["tables", 2, "objects", 0, "rows"], -2),
    (["tables", 2, "objects", 0, "bytes"], 1),
    (["tables", 2, "objects", 0, "bytes"], "many"),
    (["tables", 2, "objects", 0, "crc32c"], "AAAAAA=="),
    (["tables", 2, "objects", 0, "name"], "../employees.avro"),
    (["tables", 2, "objects", 0, "name"], "/etc/passwd"),
    (["tables", 2, "objects", 0, "name"], "jobs.avro"),
    (["tables", 2, "objects", 0], None),
    (["tables", 2, "invalid_rows"], 1),
    (["schema"], {}),
    (["reports", 0, "crc32c"], "AAAAAA=="),
]


@pytest.mark.parametrize(("where", "value"), some(EDITS, 6))
def test_edited_manifests_are_refused(
    tmp_path: Path,
    database: Database,
    bucket: Bucket,
    run_restore: Loader,
    take_backup: Backup,
    rows: Any,
    where: list[Any],
    value: object,
) -> None:
    """A manifest that does not describe the objects is refused, and nothing is written."""
    copy = download(bucket, take_backup(), tmp_path)
    file = copy / "manifest.json"
    file.write_text(json.dumps(edit(json.loads(file.read_text()), *where, value=value)))
    loaded = run_restore(copy, "--replace")
    assert (loaded.status, "manifest" in loaded.error) == (3, True), loaded
    assert content(database) == rows


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\x1f\x8b"])
def test_a_manifest_that_is_not_a_json_object_is_refused(
    tmp_path: Path, database: Database, run_restore: Loader, text: str
) -> None:
    """A manifest that is cut off or is not a JSON object is refused."""
    (tmp_path / "manifest.json").write_text(text)
    loaded = run_restore(tmp_path)
    assert loaded.status == 3
    assert loaded.error.startswith("nothing was loaded: manifest.json is not a manifest: ")


@pytest.mark.parametrize("days", [-719_163, 2_932_897, -(2**31), 2**31 - 1])
def test_a_date_that_no_server_has_is_refused(
    tmp_path: Path,
    database: Database,
    bucket: Bucket,
    run_restore: Loader,
    take_backup: Backup,
    days: int,
) -> None:
    """A date outside the years 1 to 9999 is refused before anything is written: status 3."""
    database.execute("ALTER TABLE departments ADD founded DATE NOT NULL DEFAULT '2021-01-01'")
    database.insert("departments", [(1, "Sales", "2021-01-01")])
    copy = download(bucket, take_backup(), tmp_path)
    content = io.BytesIO((copy / "departments.avro").read_bytes())
    stored = io.BytesIO()
    schema = json.loads(fastavro.reader(content).metadata["avro.schema"])
    writer = container.Writer(stored.write, schema)
    row = io.BytesIO()
    for kind, value in (("long", 1), ("string", "Sales"), ("int", days)):
        fastavro.schemaless_writer(row, kind, value)
    writer.write_block(1, row.getvalue())
    rewrite(copy, "departments.avro", stored.getvalue())
    for options in ([], ["--dry-run"]):
        loaded = run_restore(copy, "--replace", *options)
        assert loaded.status == 3
        assert "a time is not between the years 1 and 9999" in loaded.error
    assert database.execute("SELECT COUNT(*) FROM departments") == [(1,)]


def test_an_unreadable_block_is_refused(
    tmp_path: Path,
    database: Database,
    bucket: Bucket,
    run_restore: Loader,
    take_backup: Backup,
    rows: Any,
) -> None:
    """An unreadable block is refused, even if size, checksum and the first rows are right."""
    copy = download(bucket, take_backup(), tmp_path)
    rewrite(copy, "employees.avro", flip((copy / "employees.avro").read_bytes()[:-9]))
    loaded = run_restore(copy, "--replace")
    assert loaded.status == 3
    assert loaded.error.startswith(f"nothing was loaded: {copy}/employees.avro can't be read: ")
    assert content(database) == rows
