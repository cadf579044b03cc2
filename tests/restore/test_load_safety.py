"""A load that is killed or disturbed loads all or nothing, and a huge one takes little memory."""

import contextlib
import io
import json
import os
import signal
import subprocess
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest
import stored_backup
from conftest import Bucket, Database, Loader
from faults import wait_until
from support import content, insert_names, some

from restore import table_creation

TABLES = ("departments", "jobs", "employees")
Backup = Callable[..., dict[str, Any]]
SECONDS = 60

FILL = """
INSERT INTO employees (name, datetime, department_id, job_id)
SELECT CONCAT('Employee ', seq), '2021-02-03 04:05:06' + INTERVAL seq MINUTE, 1 + seq MOD 2, 1
FROM (
    WITH RECURSIVE counter (seq) AS (
        SELECT 1 UNION ALL SELECT seq + 1 FROM counter WHERE seq < {rows}
    )
    SELECT seq FROM counter
) AS numbers
"""


def fill(database: Database, rows: int) -> None:
    """Inserts two departments, a job and many employees."""
    insert_names(database)
    with database.connect() as connection, connection.cursor() as cursor:
        mariadb = database.server.is_mariadb
        limit = "max_recursive_iterations" if mariadb else "cte_max_recursion_depth"
        cursor.execute(f"SET {limit} = {rows}")
        cursor.execute(FILL.format(rows=rows))


def empty(database: Database) -> None:
    for table in reversed(TABLES):
        database.execute(f"DELETE FROM {table}")


@pytest.fixture
def backup(database: Database, take_backup: Backup) -> str:
    """The address of a backup of 40,000 employees; the tables are empty again."""
    fill(database, 40_000)
    address = take_backup()["backup"]
    empty(database)
    return str(address)


def into(table: str) -> str:
    """A pattern for the statements that insert rows into a table."""
    return f"(INSERT|LOAD DATA LOCAL INFILE 'rows') INTO (TABLE )?`{table}`"


MOMENTS = {
    "halfway": (into("employees"), 2),
    "first row": (into("jobs"), 1),
    "not committed": ("COMMIT", 1),
}


@pytest.mark.parametrize(("statement", "times"), some(MOMENTS))
@pytest.mark.parametrize("options", some({"replace": ["--replace"], "new": []}))
def test_a_killed_load_leaves_the_rows_as_they_were(
    database: Database,
    run_restore: Loader,
    backup: str,
    options: list[str],
    statement: str,
    times: int,
) -> None:
    """A load killed at its first row, halfway or before its commit leaves the rows as they were."""
    if options:
        database.insert("departments", [(5, "Old")])
    before = content(database)
    loading = run_restore.start_held(statement, times, backup, *options)
    loading.send_signal(signal.SIGKILL)
    loading.communicate()
    assert loading.returncode == -signal.SIGKILL
    assert content(database) == before
    assert run_restore(backup, *options).status == 0
    assert database.execute("SELECT COUNT(*) FROM employees") == [(40_000,)]


@pytest.mark.slow
def test_an_interrupted_load_says_so(database: Database, run_restore: Loader, backup: str) -> None:
    """An interrupted load has status 130, says so without a traceback, and changes no row."""
    loading = run_restore.start_held(into("employees"), 2, backup)
    loading.send_signal(signal.SIGINT)
    _, log = loading.communicate(timeout=SECONDS)
    assert (loading.returncode, "Traceback" in log) == (130, False)
    assert '"message": "nothing was loaded", "reason": "interrupted"' in log
    assert content(database) == {table: [] for table in TABLES}


@pytest.mark.slow
def test_a_writer_waits_for_a_load(database: Database, run_restore: Loader, backup: str) -> None:
    """A writer waits while a load runs; afterwards its row is there beside the loaded rows."""
    loading = run_restore.start_held(into("employees"), 2, backup)
    insert = "INSERT INTO departments VALUES (77, 'New')"
    writer = threading.Thread(target=database.execute, args=[insert])
    writer.start()
    wait_until(lambda: waiting(database) == [(insert,)])
    out, log = loading.communicate("go on\n", timeout=SECONDS)
    writer.join(SECONDS)
    assert loading.returncode == 0, out + log
    assert database.execute("SELECT id FROM departments ORDER BY id") == [(1,), (2,), (77,)]
    assert database.execute("SELECT COUNT(*) FROM employees") == [(40_000,)]


def waiting(database: Database) -> list[tuple[Any, ...]]:
    """The statements that wait for a table's lock."""
    return database.execute(
        "SELECT info FROM information_schema.processlist"
        " WHERE state = 'Waiting for table metadata lock' AND db = DATABASE()"
    )


@pytest.mark.slow
def test_replacing_under_a_writer_loses_none_of_its_later_rows(
    database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """A load with --replace beside a writer keeps every row written after it, without a gap."""
    fill(database, 5_000)
    backup = take_backup()["backup"]
    stop, written = threading.Event(), []

    def write() -> None:
        with database.connect() as connection, connection.cursor() as cursor:
            number = 1_000_000
            while not stop.is_set():
                number += 1
                cursor.execute("INSERT INTO departments VALUES (%s, 'New')", (number,))
                written.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: len(written) > 10)
        loaded = run_restore(backup, "--replace")
        after = len(written)
        wait_until(lambda: len(written) > after + 10)
    finally:
        stop.set()
        writer.join()
    assert loaded.status == 0
    there = [
        number for (number,) in database.execute("SELECT id FROM departments WHERE id > 999999")
    ]
    assert 10 <= len(there) < len(written)
    assert sorted(there) == written[-len(there) :]


def test_a_load_waits_for_seconds_only(
    database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """A load that waits for an open transaction has status 5 after seconds and changes no row."""
    backup = take_backup()["backup"]
    with database.connect(autocommit=False) as writer, writer.cursor() as cursor:
        cursor.execute("INSERT INTO departments VALUES (1, 'Sales')")
        started = time.monotonic()
        loaded = run_restore(backup, "--replace")
        assert time.monotonic() - started < 15
        writer.commit()
    assert (loaded.status, "could not lock" in loaded.error) == (5, True)
    assert content(database)["departments"] == [(1, "Sales")]


@pytest.mark.parametrize("after", some(range(6), 3))
def test_storage_that_fails_at_any_moment_changes_nothing(
    database: Database, bucket: Any, run_restore: Loader, take_backup: Backup, after: int
) -> None:
    """Storage that fails before or during the transaction is status 5, and the old rows stay."""
    fill(database, 100)
    backup = take_backup()["backup"]
    before = content(database)
    bucket.storage.fail("(jobs|employees).avro", after=after, status=403, times=None)
    loaded = run_restore(backup, "--replace")
    assert (loaded.status, "refused or failed: " in loaded.error) == (5, True)
    assert content(database) == before


@pytest.mark.parametrize("after", some(range(1, 4)))
def test_storage_that_refuses_schema_sql_changes_nothing(
    database: Database, bucket: Bucket, run_restore: Loader, take_backup: Backup, after: int
) -> None:
    """Storage that refuses schema.sql at any point is status 5, and the old rows stay."""
    fill(database, 100)
    backup = take_backup()["backup"]
    database.execute("DELETE FROM employees WHERE id > 50")
    before = content(database)
    bucket.storage.fail("schema.sql", method="GET", after=after, status=403, times=None)
    loaded = run_restore(backup, "--replace")
    assert (loaded.status, "refused or failed: " in loaded.error) == (5, True), loaded.log
    assert content(database) == before


def test_an_object_that_changes_after_the_check_rolls_everything_back(
    database: Database, bucket: Any, run_restore: Loader, take_backup: Backup, environment: Any
) -> None:
    """An object that is replaced after the check is status 3, and the old rows stay."""
    fill(database, 100)
    first = take_backup()
    database.execute("DELETE FROM employees WHERE id > 50")
    second = take_backup()
    before = content(database)
    name = "hiring/backups/{}/employees.avro"
    first_name, second_name = (
        name.format(each["backup"].split("/")[-2]) for each in (first, second)
    )
    create = table_creation.tables_created

    def swap(*arguments: Any) -> Any:
        bucket.blob(first_name).upload_from_string(bucket.blob(second_name).download_as_bytes())
        return create(*arguments)

    environment.setattr("restore.restoring.tables_created", swap)
    loaded = run_restore(first["backup"], "--replace")
    assert (loaded.status, "employees.avro has " in loaded.error) == (3, True)
    assert content(database) == before


# Memory


def peak_megabytes(process: "subprocess.Popen[str]") -> float:
    """The peak memory of a load in megabytes, after it ended with status 0."""
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except FileNotFoundError:
            break
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                peak = max(peak, int(line.split()[1]))
        time.sleep(0.02)
    out, log = process.communicate()
    assert process.returncode == 0, out + log
    return peak / 1024


@pytest.mark.once
@pytest.mark.slow
def test_many_rows_of_a_backup_take_little_memory(
    database: Database, run_restore: Loader, take_backup: Backup
) -> None:
    """A load of 200,000 rows stays below 120 MB and within 20 MB of a load of 50,000."""
    peaks = []
    for rows in (50_000, 200_000):
        empty(database)
        fill(database, rows)
        peaks.append(peak_megabytes(run_restore.start(take_backup()["backup"], "--replace")))
        assert database.execute("SELECT COUNT(*) FROM employees") == [(rows,)]
    assert peaks[1] < min(120, peaks[0] + 20), peaks


@pytest.mark.once
@pytest.mark.slow
def test_many_rows_of_csv_take_little_memory(
    tmp_path: Path, database: Database, run_import: Loader
) -> None:
    """A load of 200,000 CSV rows, half of them invalid and in no order, stays below 150 MB."""
    (tmp_path / "departments.csv").write_text("1,Sales\n")
    (tmp_path / "jobs.csv").write_text("1,Clerk\n")
    with (tmp_path / "employees.csv").open("w") as file:
        for number in range(200_000):
            scattered = number * 7_919 % 1_000_003
            file.write(f"{scattered},Ana Smith,2021-01-01T00:00:00Z,1,{1 + number % 2}\n")
    loading = run_import.start(tmp_path, "--max-invalid", "50%")
    assert peak_megabytes(loading) < 150
    assert database.execute("SELECT COUNT(*) FROM employees") == [(100_000,)]


# Hostile sources


def avro_file(schema: Any, *blocks: tuple[int, bytes]) -> bytes:
    """An Avro file with any schema and any deflated blocks."""
    sync = bytes(16)
    file = io.BytesIO()
    file.write(b"Obj\x01")
    write_long(file, 2)
    for name, value in (("avro.codec", b"deflate"), ("avro.schema", json.dumps(schema).encode())):
        for part in (name.encode(), value):
            write_long(file, len(part))
            file.write(part)
    write_long(file, 0)
    file.write(sync)
    for rows, encoded in blocks:
        write_long(file, rows)
        write_long(file, len(encoded))
        file.write(encoded + sync)
    return file.getvalue()


def write_long(file: io.BytesIO, number: int) -> None:
    fastavro.schemaless_writer(file, fastavro.parse_schema("long"), number)


def deflated(megabytes: int) -> bytes:
    """Compressed zeros that decompress to so many megabytes."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # After a full flush, the compressed megabyte does not depend on what is before it.
    megabyte = compressor.compress(bytes(1024 * 1024)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return megabyte * megabytes + compressor.flush()


def field(avro_type: Any) -> dict[str, Any]:
    return {"name": "id", "mysqlName": "id", "mysqlType": "int", "type": avro_type}


def record(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "jobs", "fields": list(fields)}


HOSTILE = {
    "a long header": lambda: b"Obj\x01\x04" + b"\xfe" * 8 + b"\x01",
    "rows without fields": lambda: avro_file(record(), (10**9, deflated(0))),
    "rows of nulls": lambda: avro_file(record(field("null")), (10**9, deflated(0))),
    "a recursive schema": lambda: avro_file(record(field("jobs")), (1, deflated(1))),
    "a nested record": lambda: avro_file(record(field(record(field("int")))), (1, deflated(1))),
    "an array": lambda: avro_file(
        record(field({"type": "array", "items": "null"})), (1, deflated(1))
    ),
    "a deflate bomb": lambda: avro_file(record(field("int")), (1, deflated(1_126))),
    "rows without bytes": lambda: avro_file(record(field("int")), (10**9, deflated(0))),
}


@pytest.mark.once
@pytest.mark.parametrize("make", some(HOSTILE))
def test_a_hostile_avro_file_is_refused(
    tmp_path: Path,
    bucket: Bucket,
    run_restore: Loader,
    take_backup: Backup,
    make: Callable[[], bytes],
) -> None:
    """A file that no backup could hold ends the load with status 3, soon and in little memory."""
    copy = stored_backup.download(bucket, take_backup(), tmp_path)
    stored_backup.rewrite(copy, "jobs.avro", make())
    refused_in_little_memory(run_restore.start(copy, GCS_PATH=""), "jobs.avro can't be read")


def refused_in_little_memory(loading: "subprocess.Popen[str]", reason: str) -> None:
    """Checks that a load ends with status 3 and this reason, within 60 s and 200 MB."""
    started, peak = time.monotonic(), 0
    while loading.poll() is None:
        peak = max(peak, memory(loading.pid))
        if time.monotonic() - started > SECONDS:
            loading.kill()
        time.sleep(0.02)
    _, log = loading.communicate()
    assert (loading.returncode, reason in log, "Traceback" in log) == (3, True, False), log[-2000:]
    assert peak < 200 * 1024


def memory(pid: int) -> int:
    """The peak memory of a process in kilobytes; 0 after its end."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


@pytest.mark.once
@pytest.mark.parametrize("name", some(["jobs.avro", "schema.sql", "reports/quarterly-hired.json"]))
@pytest.mark.parametrize("kind", some(["a pipe", "a device"]))
def test_a_pipe_or_a_device_is_refused(
    tmp_path: Path, bucket: Bucket, run_restore: Loader, take_backup: Backup, name: str, kind: str
) -> None:
    """A pipe or a device in place of a file is refused instead of read."""
    copy = stored_backup.download(bucket, take_backup(), tmp_path)
    (copy / name).unlink()
    if kind == "a pipe":
        os.mkfifo(copy / name)
    else:
        (copy / name).symlink_to("/dev/zero")
    refused_in_little_memory(run_restore.start(copy, GCS_PATH=""), f"{name} is not a file")


@pytest.mark.once
@pytest.mark.slow
def test_a_deeply_nested_manifest_is_refused(tmp_path: Path, run_restore: Loader) -> None:
    """A manifest that Python's parser cannot follow ends the load with status 3."""
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    loading = run_restore.start(tmp_path, GCS_PATH="")
    refused_in_little_memory(loading, "manifest.json is not a manifest")


@pytest.mark.once
@pytest.mark.slow
def test_a_huge_manifest_is_refused(tmp_path: Path, run_restore: Loader) -> None:
    """A manifest of 2 GB is not read into memory."""
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(2**31)
    refused_in_little_memory(run_restore.start(tmp_path, GCS_PATH=""), "is longer than")


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("size", [3_000_000, 16_000_000])
def test_manifests_of_many_lists_are_passed_over(
    tmp_path: Path, run_restore: Loader, size: int
) -> None:
    """Many manifests, each as large as may be and full of lists, never are in memory together."""
    for number in range(8):
        folder = tmp_path / f"2026112{number}T000000.000000Z"
        folder.mkdir()
        (folder / "manifest.json").write_text(f"[{'[],' * (size // 3)}[]]")
    loading = run_restore.start(tmp_path, GCS_PATH="")
    refused_in_little_memory(loading, "holds no readable backup")


@pytest.mark.once
@pytest.mark.parametrize("end", some(["", "\n", '"\n']))
@pytest.mark.parametrize("piece", some(["x,", "x", '"\n",']))
def test_a_huge_csv_row_is_refused(
    tmp_path: Path, run_import: Loader, piece: str, end: str
) -> None:
    """A CSV row of 250 MB, in one field, many fields or many lines, is not read into memory."""
    (tmp_path / "departments.csv").write_text("1,Sales\n")
    (tmp_path / "jobs.csv").write_text("1,Clerk\n")
    with (tmp_path / "employees.csv").open("w") as file:
        for _ in range(250):
            file.write(piece * (2**20 // len(piece)))
        file.write(end)
    loading = run_import.start(tmp_path, "--dry-run")
    refused_in_little_memory(loading, "employees.csv is not CSV, at line 1")
