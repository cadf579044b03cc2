"""`restore --table` restores one table of a backup if all foreign keys hold afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Bucket, Database, Loader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_backup import path
from support import content, count, load_on_terminal

Backup = Callable[..., dict[str, Any]]
Rows = dict[str, list[tuple[Any, ...]]]
TABLES = ("departments", "jobs", "employees")
HIRED = "2021-02-03 04:05:06"


@pytest.fixture
def backup(database: Database, take_backup: Backup) -> str:
    """The address of a backup; the tables still hold its rows."""
    database.insert("departments", [(1, "Sales"), (2, "Support")])
    database.insert("jobs", [(3, "Clerk"), (4, "Analyst")])
    database.insert("employees", [(5, "Ana", HIRED, 1, 3), (6, "Bo", HIRED, 2, 4)])
    return str(take_backup()["backup"])


def without_foreign_keys(database: Database, *statements: str) -> None:
    """Runs statements on a connection on which the server does not check foreign keys."""
    with database.connect() as connection, connection.cursor() as cursor:
        for statement in ("SET foreign_key_checks = 0", *statements):
            cursor.execute(statement)


def next_ids(database: Database) -> dict[str, int]:
    """The id of each table's next row, found by an INSERT that is rolled back."""
    found = {}
    for table, values in (
        ("departments", "(department) VALUES ('x')"),
        ("jobs", "(job) VALUES ('x')"),
        ("employees", f"(name, datetime, department_id, job_id) VALUES ('x', '{HIRED}', 1, 3)"),
    ):
        with database.connect(autocommit=False) as connection, connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} {values}")
            found[table] = int(cursor.lastrowid)
            connection.rollback()
    return found


@pytest.mark.parametrize("table", TABLES)
def test_only_that_table_is_replaced(
    database: Database, run_restore: Loader, backup: str, table: str
) -> None:
    """The named table gets the backup's rows and next id again; the other two stay as they are."""
    before = content(database)
    database.execute("UPDATE departments SET department = 'Changed'")
    database.execute("UPDATE jobs SET job = 'Changed'")
    database.execute("UPDATE employees SET name = 'Changed'")
    database.insert("departments", [(20, "New")])
    database.insert("jobs", [(21, "New")])
    database.insert("employees", [(22, "New", HIRED, 1, 3)])
    changed = content(database)
    loaded = run_restore(backup, "--table", table, "--replace")
    assert (loaded.status, loaded.outcomes) == (0, {table: (2, 2, 0, "")}), loaded.log
    assert content(database) == changed | {table: before[table]}
    assert next_ids(database)[table] == before[table][-1][0] + 1
    (plan,) = (line for line in loaded.log if line["message"] == "about to load")
    assert plan["tables"] == [table]
    assert plan["now"] == dict.fromkeys(TABLES, 3)
    assert plan["afterwards"] == dict.fromkeys(TABLES, 3) | {table: 2}


def test_an_empty_table_is_filled_beside_full_ones(
    database: Database, run_restore: Loader, backup: str
) -> None:
    """An empty table is filled beside full ones; a full one is refused without --replace."""
    before = content(database)
    loaded = run_restore(backup, "--table", "departments")
    assert (loaded.status, loaded.error) == (
        2,
        "nothing was loaded: departments already hold rows; --replace replaces them",
    )
    without_foreign_keys(database, "DELETE FROM departments")
    lost = content(database)
    dry = run_restore(backup, "--table", "departments", "--dry-run")
    assert (dry.status, dry.outcomes) == (0, {"departments": (2, 2, 0, "")})
    assert content(database) == lost
    assert run_restore(backup, "--table", "departments").status == 0
    assert content(database) == before


def test_no_foreign_key_action_touches_the_other_tables(
    database: Database, run_restore: Loader, backup: str
) -> None:
    """Replacing departments removes no employees, in spite of ON DELETE CASCADE."""
    database.execute(
        "ALTER TABLE employees DROP FOREIGN KEY employees_department,"
        " ADD CONSTRAINT again FOREIGN KEY (department_id) REFERENCES departments (id)"
        " ON DELETE CASCADE ON UPDATE CASCADE"
    )
    before = content(database)
    assert run_restore(backup, "--table", "departments", "--replace").status == 0
    assert content(database) == before


# Foreign keys that would not hold


def refused(
    database: Database, run_restore: Loader, backup: str, table: str, *reasons: str
) -> None:
    """Checks that loading a table is status 4 with these reasons, and changes nothing."""
    before = content(database)
    loaded = run_restore(backup, "--table", table, "--replace")
    assert (loaded.status, loaded.error) == (4, f"nothing was loaded: {'; '.join(reasons)}")
    assert content(database) == before


def lost(table: str, parent: str, rows: int, example: str, name: str) -> str:
    """The reason for rows of a table that break a foreign key."""
    some = f"{rows} row of {table} refers" if rows == 1 else f"{rows} rows of {table} refer"
    return (
        f"table {table}: {some} to a row of {parent} that is not there"
        f" (foreign key {name}), such as {example}"
    )


def test_rows_that_others_refer_to_are_not_lost(
    database: Database, run_restore: Loader, backup: str
) -> None:
    """A backup without a row that another table refers to is refused, naming the foreign key."""
    database.insert("departments", [(9, "New")])
    database.insert("employees", [(7, "Cy", HIRED, 9, 3), (8, "Di", HIRED, 9, 3)])
    reason = lost("employees", "departments", 2, "department_id 9", "employees_department")
    refused(database, run_restore, backup, "departments", reason)


def test_restored_rows_must_refer_to_existing_rows(
    database: Database, run_restore: Loader, backup: str
) -> None:
    """Restored rows that refer to removed ones are refused, naming each foreign key."""
    database.execute("DELETE FROM employees WHERE id = 6")
    database.execute("DELETE FROM departments WHERE id = 2")
    department = lost("employees", "departments", 1, "department_id 2", "employees_department")
    refused(database, run_restore, backup, "employees", department)
    database.execute("DELETE FROM jobs WHERE id = 4")
    job = lost("employees", "jobs", 1, "job_id 4", "employees_job")
    refused(database, run_restore, backup, "employees", department, job)


def test_a_circle_and_a_self_reference_are_checked_too(
    database: Database, run_restore: Loader, take_backup: Backup, backup: str
) -> None:
    """Foreign keys from departments to employees and to departments are checked, too."""
    database.execute(
        "ALTER TABLE departments ADD head INT UNSIGNED, ADD part_of INT UNSIGNED,"
        " ADD CONSTRAINT led FOREIGN KEY (head) REFERENCES employees (id) ON DELETE CASCADE,"
        " ADD CONSTRAINT part FOREIGN KEY (part_of) REFERENCES departments (id) ON DELETE CASCADE"
    )
    database.execute("UPDATE departments SET head = 6, part_of = 3 - id")
    backup = take_backup()["backup"]
    whole = content(database)
    for table in TABLES:
        assert run_restore(backup, "--table", table, "--replace").status == 0
        assert content(database) == whole
    # A department's head is missing: employees must be restored before departments.
    database.execute("UPDATE departments SET head = 5, part_of = NULL")
    database.execute("DELETE FROM employees WHERE id = 6")
    refused(
        database,
        run_restore,
        backup,
        "departments",
        lost("departments", "employees", 2, "head 6", "led"),
    )
    assert run_restore(backup, "--table", "employees", "--replace").status == 0
    assert run_restore(backup, "--table", "departments", "--replace").status == 0
    assert content(database) == whole
    # The backup's own rows refer to each other; a missing one is found among them, too.
    without_foreign_keys(database, "DELETE FROM departments WHERE id = 2")
    torn = take_backup()["backup"]
    refused(
        database,
        run_restore,
        torn,
        "departments",
        lost("departments", "departments", 1, "part_of 2", "part"),
        lost("employees", "departments", 1, "department_id 2", "employees_department"),
    )


IDS = st.sets(st.integers(1, 3), max_size=3)
EMPLOYEES = st.dictionaries(
    st.integers(1, 4), st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=3
)


def fill(database: Database, departments: set[int], jobs: set[int], employees: Any) -> Rows:
    """Fills the tables with rows that may refer to nothing; returns them."""
    without_foreign_keys(
        database,
        *(f"DELETE FROM {table}" for table in TABLES),
        *(f"INSERT INTO departments VALUES ({number}, '{number}')" for number in departments),
        *(f"INSERT INTO jobs VALUES ({number}, '{number}')" for number in jobs),
        *(
            f"INSERT INTO employees VALUES ({number}, 'x', '{HIRED}', {department}, {job})"
            for number, (department, job) in employees.items()
        ),
    )
    return content(database)


def holds(rows: Rows) -> bool:
    """Whether every employee has a department and a job."""
    departments, jobs = ({number for number, _ in rows[table]} for table in TABLES[:2])
    return all(row[3] in departments and row[4] in jobs for row in rows["employees"])


@pytest.mark.once
@pytest.mark.slow
@settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    stored=st.tuples(IDS, IDS, EMPLOYEES),
    present=st.tuples(IDS, IDS, EMPLOYEES),
    table=st.sampled_from(TABLES),
)
def test_any_table_is_restored_exactly_or_not_at_all(
    database: Database,
    run_restore: Loader,
    take_backup: Backup,
    stored: Any,
    present: Any,
    table: str,
) -> None:
    """Any table is restored exactly with status 0, or status 4 changes nothing."""
    former = fill(database, *stored)
    backup = take_backup()["backup"]
    before = fill(database, *present)
    wanted = before | {table: former[table]}
    loaded = run_restore(backup, "--table", table, "--replace")
    assert loaded.status == (0 if holds(wanted) else 4), loaded.log
    assert content(database) == (wanted if holds(wanted) else before)


# Refusals before the load


def test_an_unknown_table_is_refused(
    run_restore: Loader, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown table is status 2, and the message has the known names."""
    with pytest.raises(SystemExit) as ended:
        run_restore("backups/", "--table", "salaries")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "argument --table: invalid choice: 'salaries' (choose from" in said
    assert all(table in said for table in TABLES)


def test_a_missing_table_is_created_but_no_other(
    database: Database, run_restore: Loader, backup: str
) -> None:
    """The named table is created if it is missing; another missing table is refused by name."""
    before = content(database)
    without_foreign_keys(database, "DROP TABLE departments")
    for option in ("--dry-run", "--replace"):
        loaded = run_restore(backup, "--table", "employees", option)
        assert loaded.status == 2
        assert loaded.error == (
            "nothing was loaded: table departments is missing, and --table employees neither"
            " creates nor fills it: create it, or restore all three tables"
        )
    assert run_restore(backup, "--table", "departments").status == 0
    assert content(database) == before


def test_the_newest_backup_without_rows_of_the_table_is_refused(
    database: Database, bucket: Bucket, run_restore: Loader, take_backup: Backup, backup: str
) -> None:
    """A newest backup without rows of the table is refused, and names the one that has some."""
    database.execute("DELETE FROM employees")
    empty = take_backup()["backup"]
    database.insert("employees", [(9, "New", HIRED, 1, 3)])
    before = content(database)
    loaded = run_restore(f"gs://{bucket.name}/hiring/backups/", "--table", "employees", "--replace")
    assert loaded.status == 3
    assert f"the newest backup, {empty}, holds no rows of employees" in loaded.error
    assert f"the newest one with rows is {backup}, " in loaded.error
    assert content(database) == before
    assert run_restore(empty, "--table", "employees", "--replace").status == 0
    assert count(database)["employees"] == 0


def test_damage_counts_only_in_what_is_restored(
    database: Database, bucket: Bucket, run_restore: Loader, backup: str
) -> None:
    """A damaged object of the table is refused; one of another table does not matter."""
    folder = path({"backup": backup})
    bucket.blob(f"{folder}employees.avro").upload_from_string(b"damaged")
    before = content(database)
    loaded = run_restore(backup, "--table", "employees", "--replace")
    assert (loaded.status, "employees.avro has 7 bytes" in loaded.error) == (3, True)
    assert content(database) == before
    database.execute("UPDATE departments SET department = 'Changed'")
    assert run_restore(backup, "--table", "departments", "--replace").status == 0
    assert content(database) == before


def test_invalid_records_of_the_table_are_restored(
    database: Database, run_restore: Loader, take_backup: Backup, backup: str
) -> None:
    """Invalid records are restored with their own table and with no other."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute("UPDATE employees SET datetime = '0000-00-00' WHERE id = 6")
    answer = take_backup()
    assert answer["tables"][2]["invalid_rows"] == 1
    before = content(database)
    database.execute("UPDATE employees SET datetime = '2020-01-01'")
    changed = content(database)
    assert run_restore(answer["backup"], "--table", "jobs", "--replace").outcomes == {
        "jobs": (2, 2, 0, "")
    }
    assert content(database) == changed
    loaded = run_restore(answer["backup"], "--table", "employees", "--replace")
    assert (loaded.status, loaded.outcomes) == (0, {"employees": (2, 2, 0, "")})
    assert content(database) == before


def test_csv_files_are_not_restored(
    tmp_path: Path, database: Database, run_restore: Loader
) -> None:
    """`restore` of a folder of CSV files is status 3, and says what it lacks."""
    for name, line in (("departments", "1,A"), ("jobs", "1,B"), ("employees", "")):
        (tmp_path / f"{name}.csv").write_text(f"{line}\n")
    loaded = run_restore(tmp_path, "--table", "departments")
    assert loaded.status == 3
    assert loaded.error == (
        f"nothing was loaded: {tmp_path}/ is neither a backup, which has a manifest.json,"
        " nor a folder of backups"
    )
    assert count(database) == dict.fromkeys(TABLES, 0)


@pytest.mark.slow
def test_a_terminal_shows_which_tables_stay(
    database: Database, bucket: Bucket, backup: str
) -> None:
    """On a terminal, the plan says `unchanged` for other tables; the question names the table."""
    before = content(database)
    database.execute("UPDATE jobs SET job = 'Changed'")
    arguments = ["restore", backup, "--table", "jobs", "--replace"]
    status, text = load_on_terminal(database, bucket, arguments, "yes")
    assert status == 0, text
    assert "departments           2     unchanged" in text
    assert "jobs                  2             2" in text
    assert f"Replace the rows of {database.name}.jobs? Type yes to go on" in text
    assert content(database) == before
