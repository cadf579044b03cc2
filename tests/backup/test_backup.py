"""A backup's files hold exactly the values of the tables."""

import base64
import datetime
import io
import json
import os
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import fastavro
import google_crc32c
import pytest
import stored_backup
from conftest import EXAMPLES, Bucket, Database
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import Client

import backup
import reports
from hiring.avro import mapping
from hiring.errors import BundleError
from hiring.storage.folders import MOST_SMALL_BYTES
from hiring.version import VERSION

CHANGE = "/backup-data"


@pytest.fixture(autouse=True)
def far_from_utc(environment: pytest.MonkeyPatch) -> Iterator[None]:
    """Sets this process's time zone far from UTC."""
    environment.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    yield
    environment.undo()
    time.tzset()
    assert "TZ" not in os.environ


def take(client: Client) -> dict[str, Any]:
    response = client.get(CHANGE)
    assert response.status_code == 200, response.get_data(as_text=True)
    answer: dict[str, Any] = json.loads(response.get_data())
    return answer


def fill(database: Database) -> None:
    database.insert("departments", [(1, "Sales"), (2, "Qualität, 😀")])
    database.insert("jobs", [(1, "Clerk")])
    database.insert("employees", [(n, "Ada", "2021-02-03 04:05:06", 1, 1) for n in (1, 2, 3)])


def test_what_a_backup_holds(client: Client, database: Database, bucket: Bucket) -> None:
    """A backup holds three Avro files, two reports, the schema, and a manifest of them all."""
    fill(database)
    answer = take(client)
    folder = stored_backup.path(answer)
    assert folder == f"hiring/backups/{answer['taken_at'].replace('-', '').replace(':', '')}/"
    content = {name.removeprefix(folder): data for name, data in bucket.blobs().items()}
    assert sorted(content) == [
        "departments.avro",
        "employees.avro",
        "jobs.avro",
        "manifest.json",
        "reports/hiring-by-department.json",
        "reports/hiring-by-department.ndjson",
        "reports/quarterly-hired.json",
        "reports/quarterly-hired.ndjson",
        "schema.sql",
    ]
    manifest = json.loads(content["manifest.json"])
    assert answer == {"backup": f"gs://{bucket.name}/{folder}", **manifest}

    def stored(name: str) -> dict[str, Any]:
        checksum = google_crc32c.Checksum(content[name]).digest()
        return {
            "name": name,
            "bytes": len(content[name]),
            "crc32c": base64.b64encode(checksum).decode(),
            "generation": bucket.client.bucket(bucket.name).get_blob(folder + name).generation,
        }

    version = database.execute("SELECT VERSION()")[0][0]
    assert manifest == {
        "format": 1,
        "writer": f"hiring {VERSION}",
        "taken_at": manifest["taken_at"],
        "database": database.name,
        "lower_case_table_names": 0,
        "server_version": version,
        "tables": [
            {
                "table": table,
                "rows": rows,
                "objects": [{"rows": rows, **stored(f"{table}.avro")}],
                "invalid_rows": 0,
            }
            for table, rows in (("departments", 2), ("jobs", 1), ("employees", 3))
        ],
        "reports": [
            stored("reports/quarterly-hired.json"),
            stored("reports/quarterly-hired.ndjson"),
            stored("reports/hiring-by-department.json"),
            stored("reports/hiring-by-department.ndjson"),
        ],
        "schema": stored("schema.sql"),
    }
    taken_at = datetime.datetime.fromisoformat(manifest["taken_at"])
    assert abs(datetime.datetime.now(datetime.UTC) - taken_at) < datetime.timedelta(minutes=1)


def test_the_reports_and_the_schema_of_the_snapshot(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """The stored reports equal the functions' answers, and schema.sql is SHOW CREATE TABLE."""
    fill(database)
    answer = take(client)
    content = bucket.blobs(stored_backup.path(answer))
    for report in (reports.QUARTERLY_HIRED, reports.HIRING_BY_DEPARTMENT):
        for name in ("json", "ndjson"):
            stored = content[f"{stored_backup.path(answer)}reports/{report.name}.{name}"]
            assert stored == client.get(f"/{report.name}?year=2000-2040&format={name}").get_data()
    statements = [
        database.execute(f"SHOW CREATE TABLE {table}")[0][1]
        for table in ("departments", "jobs", "employees")
    ]
    schema = content[f"{stored_backup.path(answer)}schema.sql"].decode()
    assert schema == "".join(f"{statement};\n\n" for statement in statements)


def test_empty_tables_are_valid_files(client: Client, bucket: Bucket) -> None:
    """An empty table gives an Avro file without rows, with its schema."""
    answer = take(client)
    for table in ("departments", "jobs", "employees"):
        content = bucket.blob(f"{stored_backup.path(answer)}{table}.avro").download_as_bytes()
        reader = fastavro.reader(io.BytesIO(content))
        assert (list(reader), reader.writer_schema["name"]) == ([], table)
        assert stored_backup.entry(answer, table)["rows"] == 0


# Every type of the contract, with its extremes. A value is given as SQL takes it, and as the
# server, read by PyMySQL, and the file, read by fastavro, have to agree on it.

LONG_TEXT = "Ünïcödé 😀 " * 7000
COLUMNS: dict[str, list[Any]] = {
    "TINYINT": [-128, 127, 0],
    "TINYINT UNSIGNED": [0, 255],
    "TINYINT(1)": [0, 1, 2, -5],
    "SMALLINT": [-32768, 32767],
    "SMALLINT UNSIGNED": [65535],
    "MEDIUMINT": [-8388608, 8388607],
    "MEDIUMINT UNSIGNED": [16777215],
    "INT": [-(2**31), 2**31 - 1],
    "INT UNSIGNED": [0, 2**32 - 1],
    "INT(8) UNSIGNED ZEROFILL": [42],
    "BIGINT": [-(2**63), 2**63 - 1],
    "BIGINT UNSIGNED": [0, 1, 2**63, 2**64 - 1],
    "YEAR": [1901, 2155, 0],
    "DECIMAL(10,2)": [Decimal("-99999999.99"), Decimal("0.00"), Decimal("-0.01"), Decimal("1.28")],
    "DECIMAL(65,30)": [Decimal("-" + "9" * 35 + "." + "9" * 30), Decimal(0)],
    "DECIMAL(5,0)": [Decimal(-99999), Decimal(128), Decimal(-128)],
    "FLOAT": [16777217, 3.4028234663852886e38, -1.401298464324817e-45, 0.1],
    "DOUBLE": [1.7976931348623157e308, -5e-324, 0.1, 2 / 3],
    "DATE": ["0001-01-01", "9999-12-31", "1969-12-31", "2024-02-29"],
    "DATETIME": ["0001-01-01 00:00:00", "9999-12-31 23:59:59"],
    "DATETIME(3)": ["1969-12-31 23:59:59.999"],
    "DATETIME(6)": ["0001-01-01 00:00:00.000001", "9999-12-31 23:59:59.999999"],
    "TIMESTAMP": ["1970-01-01 00:00:01", "2038-01-19 03:14:07"],
    "TIMESTAMP(6)": ["2021-03-28 02:30:00.123456"],
    "TIME": ["-838:59:59", "838:59:59", "00:00:00"],
    "TIME(6)": ["-00:00:00.000001", "12:34:56.789012"],
    "CHAR(5)": ["", "a", "Żółć😀"],
    "VARCHAR(300) CHARACTER SET utf8mb4": ["", "x" * 300, "'\"\\\n\0%s"],
    "VARCHAR(20) CHARACTER SET latin1": ["naïve €"],
    "TEXT": ["z" * 65535],
    "LONGTEXT": [LONG_TEXT],
    "ENUM('a','b, c','ü')": ["a", "b, c", "ü"],
    "SET('x','y')": ["", "x", "x,y"],
    "BINARY(4)": [b"\x00\xff\x00\x00"],
    "VARBINARY(300)": [b"", bytes(range(256))],
    "BLOB": [b"\xff\xfe" * 1000],
    "LONGBLOB": [os.urandom(300_000)],
    "BIT(1)": [b"\x01", b"\x00"],
    "BIT(33)": [b"\x01\xff\xff\xff\xff"],
    "JSON": ['{"a": [1, 2.5, null, "ü"]}', "[]"],
}
AVRO_TYPES = {
    "TINYINT": "int",
    "TINYINT UNSIGNED": "int",
    "TINYINT(1)": "int",
    "SMALLINT": "int",
    "SMALLINT UNSIGNED": "int",
    "MEDIUMINT": "int",
    "MEDIUMINT UNSIGNED": "int",
    "INT": "int",
    "INT UNSIGNED": "long",
    "INT(8) UNSIGNED ZEROFILL": "long",
    "BIGINT": "long",
    "BIGINT UNSIGNED": "bytes decimal 20 0",
    "YEAR": "int",
    "DECIMAL(10,2)": "bytes decimal 10 2",
    "DECIMAL(65,30)": "bytes decimal 65 30",
    "DECIMAL(5,0)": "bytes decimal 5 0",
    "FLOAT": "float",
    "DOUBLE": "double",
    "DATE": "int date",
    "DATETIME": "long local-timestamp-micros",
    "DATETIME(3)": "long local-timestamp-micros",
    "DATETIME(6)": "long local-timestamp-micros",
    "TIMESTAMP": "long timestamp-micros",
    "TIMESTAMP(6)": "long timestamp-micros",
    "TIME": "string",
    "TIME(6)": "string",
    "CHAR(5)": "string",
    "VARCHAR(300) CHARACTER SET utf8mb4": "string",
    "VARCHAR(20) CHARACTER SET latin1": "string",
    "TEXT": "string",
    "LONGTEXT": "string",
    "ENUM('a','b, c','ü')": "string",
    "SET('x','y')": "string",
    "BINARY(4)": "bytes",
    "VARBINARY(300)": "bytes",
    "BLOB": "bytes",
    "LONGBLOB": "bytes",
    "BIT(1)": "bytes",
    "BIT(33)": "bytes",
    "JSON": "string",
    "GEOMETRY": "bytes",
    "VECTOR(2)": "bytes",
    "UUID": "string",
    "INET4": "string",
    "INET6": "string",
}


def read_by_pymysql(database: Database, columns: list[str]) -> list[dict[str, Any]]:
    """The rows of employees as PyMySQL reads them, comparable with fastavro's."""
    selected = ", ".join(
        f"CAST({name} AS {'DOUBLE' if sql == 'FLOAT' else 'CHAR'}) AS {name}"
        if sql == "FLOAT" or sql.startswith("TIME(") or sql == "TIME"
        else name
        for name, sql in zip((f"c{n}" for n in range(len(columns))), columns, strict=True)
    )
    with database.connect(init_command="SET time_zone = '+00:00'") as connection:
        cursor = connection.cursor()
        cursor.execute(f"SELECT id, {selected} FROM employees ORDER BY id")
        names = [description[0] for description in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def comparable(sql: str, value: Any) -> Any:
    """A value of PyMySQL as fastavro would return it."""
    if value is None:
        return None
    if sql.startswith("TIMESTAMP"):
        return value.replace(tzinfo=datetime.UTC)
    if sql == "BIGINT UNSIGNED":
        return Decimal(value)
    return value


def add_columns(database: Database, columns: list[str], null: str) -> None:
    added = ", ".join(f"ADD c{number} {sql} {null}" for number, sql in enumerate(columns))
    database.execute(f"ALTER TABLE employees {added}")


def insert(database: Database, columns: list[str], rows: list[dict[int, Any]]) -> None:
    """Inserts a row for each mapping of column numbers to values; BIT goes as bytes."""
    with database.connect(
        init_command="SET time_zone = '+00:00', sql_mode = 'NO_ZERO_DATE'", autocommit=True
    ) as connection:
        cursor = connection.cursor()
        for row in rows:
            names = "".join(f", c{number}" for number in row)
            cursor.execute(
                f"INSERT INTO employees (name, datetime, department_id, job_id{names})"
                f" VALUES ('x', '2021-01-01', 1, 1{', %s' * len(row)})",
                tuple(row.values()),
            )


def check(client: Client, database: Database, bucket: Bucket, columns: list[str]) -> None:
    """Takes a backup and compares its rows with the table's."""
    answer = take(client)
    found = {row["id"]: row for row in stored_backup.records(bucket, answer, "employees")}
    expected = read_by_pymysql(database, columns)
    assert len(found) == len(expected) == stored_backup.entry(answer, "employees")["rows"]
    for row in expected:
        for number, sql in enumerate(columns):
            name = f"c{number}"
            value = comparable(sql, row[name])
            assert found[row["id"]][name] == value, (sql, value)


@pytest.mark.slow
@pytest.mark.parametrize("null", ["NULL", "NOT NULL"])
def test_every_type_at_its_extremes(
    client: Client, database: Database, bucket: Bucket, null: str
) -> None:
    """Each column type has its Avro type, and its extremes and NULL come back unchanged."""
    fill(database)
    columns = list(COLUMNS)
    database.execute("DELETE FROM employees")
    add_columns(database, columns, null)
    first = {number: values[0] for number, values in enumerate(COLUMNS.values())}
    rows = [first] + [
        first | {number: value}
        for number, values in enumerate(COLUMNS.values())
        for value in values
    ]
    if null == "NULL":
        rows += [dict.fromkeys(first)] + [first | {number: None} for number in first]
    insert(database, columns, rows)
    check(client, database, bucket, columns)

    schema = schema_of(client, bucket)
    for number, sql in enumerate(columns):
        field = schema[f"c{number}"]
        expected = avro_type(AVRO_TYPES[sql])
        assert field["type"] == (expected if null == "NOT NULL" else ["null", expected]), sql


def test_a_comment_is_the_documentation_of_its_field(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """A column's comment is its field's `doc`; a column without one has none."""
    comment = "When, in UTC: 'quoted' – and é"
    database.execute("ALTER TABLE employees MODIFY name VARCHAR(99) COMMENT %s", (comment,))
    fill(database)
    schema = schema_of(client, bucket)
    assert {name: field.get("doc") for name, field in schema.items()} == dict.fromkeys(schema) | {
        "name": comment
    }


def schema_of(client: Client, bucket: Bucket) -> dict[str, Any]:
    """The fields of the schema of employees, by name."""
    answer = take(client)
    content = bucket.blob(f"{stored_backup.path(answer)}employees.avro").download_as_bytes()
    fields = fastavro.reader(io.BytesIO(content)).writer_schema["fields"]
    return {field["name"]: field for field in fields}


def avro_type(words: str) -> Any:
    """An Avro type from its short form in AVRO_TYPES."""
    plain, *logical = words.split()
    if not logical:
        return plain
    found: dict[str, Any] = {"type": plain, "logicalType": logical[0]}
    if logical[1:]:
        found |= {"precision": int(logical[1]), "scale": int(logical[2])}
    return found


FLAVOURS = {
    "GEOMETRY": "ST_GeomFromText('POINT(1 2)', 4326)",
    # As bytes: MySQL's STRING_TO_VECTOR is MariaDB's VEC_FromText.
    "VECTOR(2)": "x'0000c03f000000c0'",
    "UUID": "'123e4567-e89b-12d3-a456-426655440000'",
    "INET4": "'192.0.2.1'",
    "INET6": "'2001:db8::1'",
}


@pytest.mark.parametrize("sql", list(FLAVOURS))
def test_types_of_one_server(client: Client, database: Database, bucket: Bucket, sql: str) -> None:
    """Types that only MySQL or only MariaDB has become text or bytes as the server prints them."""
    fill(database)
    try:
        database.execute(f"ALTER TABLE employees ADD c0 {sql} NULL")
    except Exception as error:  # noqa: BLE001 - whatever this server says of a type it has not
        pytest.skip(f"not on this server: {error}")
    database.execute(f"UPDATE employees SET c0 = {FLAVOURS[sql]} WHERE id > 1")
    answer = take(client)
    found = [row["c0"] for row in stored_backup.records(bucket, answer, "employees")]
    printed = database.execute("SELECT HEX(c0) FROM employees ORDER BY id")
    if AVRO_TYPES[sql] == "bytes":
        assert found == [None if value is None else bytes.fromhex(value) for (value,) in printed]
    else:
        assert found == [None, *[FLAVOURS[sql].strip("'")] * 2]


def floats(width: int) -> st.SearchStrategy[float]:
    # MySQL stores no infinity and no NaN.
    return st.floats(allow_nan=False, allow_infinity=False, width=width)  # type: ignore[arg-type]


TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)
ANY_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "SMALLINT": st.integers(-(2**15), 2**15 - 1),
    "INT UNSIGNED": st.integers(0, 2**32 - 1),
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "BIGINT UNSIGNED": st.integers(0, 2**64 - 1),
    "DECIMAL(30,10)": st.decimals(
        allow_nan=False, allow_infinity=False, places=10, min_value=-(10**19), max_value=10**19
    ),
    "FLOAT": floats(32),
    "DOUBLE": floats(64),
    "DATE": st.dates(),
    "DATETIME(6)": st.datetimes(),
    "TIMESTAMP(6)": st.datetimes(
        datetime.datetime(1970, 1, 2),  # noqa: DTZ001 - the column has no zone
        datetime.datetime(2038, 1, 18),  # noqa: DTZ001
    ),
    "VARCHAR(60) CHARACTER SET utf8mb4": TEXTS,
    "TEXT": TEXTS,
    "VARBINARY(300)": st.binary(max_size=300),
    "BLOB": st.binary(max_size=2000),
    "BIT(64)": st.binary(min_size=8, max_size=8),
}


@settings(max_examples=EXAMPLES // 5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.fixed_dictionaries(
            {number: st.none() | values for number, values in enumerate(ANY_VALUES.values())}
        ),
        max_size=8,
    )
)
def test_any_values(
    client: Client, database: Database, bucket: Bucket, rows: list[dict[int, Any]]
) -> None:
    """The file holds the table's values, whatever they are."""
    columns = list(ANY_VALUES)
    if not database.execute("SELECT 1 FROM departments"):
        fill(database)
        add_columns(database, columns, "NULL")
    database.execute("DELETE FROM employees")
    insert(database, columns, rows)
    check(client, database, bucket, columns)


def test_the_schema_keeps_the_names_of_mysql(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """Names that Avro forbids are changed and stay unique; the schema keeps MySQL's names."""
    database.execute(
        "ALTER TABLE employees ADD `größe` INT NULL, ADD `gr__e` INT NULL, ADD `1st` INT NULL,"
        " ADD `back``tick %s` INT NULL, ADD twice INT AS (`größe` * 2) STORED,"
        " ADD hidden VARCHAR(3) NOT NULL DEFAULT 'x' INVISIBLE"
    )
    database.insert("departments", [(1, "Sales")])
    database.insert("jobs", [(1, "Clerk")])
    database.execute(
        "INSERT INTO employees (id, name, datetime, department_id, job_id, `größe`, `1st`)"
        " VALUES (21, 'x', '2021-01-01', 1, 1, 7, 8)"
    )
    schema = schema_of(client, bucket)
    assert {name: field["mysqlName"] for name, field in schema.items()} == {
        "id": "id",
        "name": "name",
        "datetime": "datetime",
        "department_id": "department_id",
        "job_id": "job_id",
        "gr__e_2": "größe",
        "gr__e": "gr__e",
        "_1st": "1st",
        "back_tick__s": "back`tick %s",
        "twice": "twice",
        "hidden": "hidden",
    }
    assert schema["name"]["mysqlType"] == "varchar(255)"
    assert [name for name, field in schema.items() if field.get("mysqlGenerated")] == ["twice"]
    assert [name for name, field in schema.items() if field.get("mysqlInvisible")] == ["hidden"]
    (row,) = stored_backup.records(bucket, take(client), "employees")
    assert (row["gr__e_2"], row["gr__e"], row["_1st"]) == (7, None, 8)
    assert (row["twice"], row["hidden"]) == (14, "x")


def test_invalid_records_are_kept(client: Client, database: Database, bucket: Bucket) -> None:
    """A row with a date that Avro cannot hold is a JSON line with its key, reason and values."""
    fill(database)
    database.execute("ALTER TABLE employees ADD photo BLOB NULL, ADD born DATE NULL")
    with database.connect(
        init_command="SET sql_mode = 'ALLOW_INVALID_DATES'", autocommit=True
    ) as connection:
        cursor = connection.cursor()
        cursor.execute("UPDATE employees SET born = '2021-02-00', photo = X'00FF' WHERE id = 2")
        cursor.execute("UPDATE employees SET datetime = 0 WHERE id = 3")
    answer = take(client)
    entry = stored_backup.entry(answer, "employees")
    assert (entry["rows"], entry["invalid_rows"]) == (1, 2)
    assert [row["id"] for row in stored_backup.records(bucket, answer, "employees")] == [1]
    row = {"name": "Ada", "datetime": "2021-02-03 04:05:06", "department_id": "1", "job_id": "1"}
    assert stored_backup.invalid_records(bucket, answer, "employees") == [
        {
            "table": "employees",
            "primary_key": {"id": "2"},
            "reason": "born: 2021-02-00 is not a date in Avro",
            "row": {"id": "2", **row, "photo": {"base64": "AP8="}, "born": "2021-02-00"},
        },
        {
            "table": "employees",
            "primary_key": {"id": "3"},
            "reason": "datetime: 0000-00-00 00:00:00 is not a time in Avro",
            "row": {
                "id": "3",
                **row,
                "datetime": "0000-00-00 00:00:00",
                "photo": None,
                "born": None,
            },
        },
    ]
    (stored,) = entry["invalid_objects"]
    assert (stored["name"], stored["rows"]) == ("invalid/employees.jsonl", 2)


def test_an_invalid_record_without_a_primary_key(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """An invalid record's key is null if the table has no primary key."""
    database.execute("DROP TABLE employees")
    database.execute(
        "CREATE TABLE employees (name TEXT, datetime DATE, department_id INT, job_id INT)"
    )
    with database.connect(init_command="SET sql_mode = ''", autocommit=True) as connection:
        connection.cursor().execute("INSERT INTO employees VALUES ('x', '0000-00-00', 1, 1)")
    answer = take(client)
    (record,) = stored_backup.invalid_records(bucket, answer, "employees")
    assert record["primary_key"] is None
    assert stored_backup.entry(answer, "employees")["rows"] == 0


def test_a_type_without_a_counterpart_is_named(
    client: Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column type without an Avro type stops the backup, which names table, column and type."""
    monkeypatch.delitem(mapping.TYPE_MAPPINGS, "varchar")
    error = client.post("/backup-data").get_json()["error"]
    assert error == {
        "code": "misconfigured",
        "message": "column department of table departments has the type varchar(255),"
        " which has no Avro type",
    }
    assert bucket.blobs() == {}


def test_a_table_of_generated_columns_is_refused(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """A table whose columns are all generated could not be restored, so nothing is stored."""
    database.execute("DROP TABLE employees")
    database.execute("CREATE TABLE employees (id INT AS (1), name INT AS (2))")
    error = client.post("/backup-data").get_json()["error"]
    assert error == {
        "code": "misconfigured",
        "message": "every column of table employees is generated, so nothing can be restored",
    }
    assert bucket.blobs() == {}


def test_two_backups_do_not_share_a_folder(
    client: Client, database: Database, bucket: Bucket
) -> None:
    """Each backup has its own folder, and the first one stays unchanged."""
    fill(database)
    first = bucket.blobs(stored_backup.path(take(client)))
    second = take(client)
    assert len(bucket.blobs()) == 2 * len(first)
    assert {name: bucket.blobs()[name] for name in first} == first
    assert stored_backup.entry(second, "employees")["rows"] == 3


def test_no_block_is_empty(client: Client, database: Database, bucket: Bucket) -> None:
    """A megabyte of invalid rows makes no empty block, which some readers take for the end.

    Avro's reader for Java does.
    """
    employee = "(name, datetime, department_id, job_id, photo)"
    database.insert("departments", [(1, "Sales")])
    database.insert("jobs", [(1, "Clerk")])
    database.execute("ALTER TABLE employees ADD photo LONGBLOB NOT NULL")
    with database.connect(init_command="SET sql_mode = ''") as connection:
        for date, size in [("2021-01-01", 1), ("0000-00-00", 2_000_000), ("2021-01-02", 1)]:
            values = f"('Ada', '{date}', 1, 1, REPEAT('x', {size}))"
            connection.query(f"INSERT INTO employees {employee} VALUES {values}")
    answer = client.get("/backup-data").get_json()
    content = bucket.blob(f"{stored_backup.path(answer)}employees.avro").download_as_bytes()
    assert [block.num_records for block in fastavro.block_reader(io.BytesIO(content))] == [1, 1]
    assert stored_backup.entry(answer, "employees")["invalid_rows"] == 1


def test_no_manifest_is_stored_that_nothing_reads() -> None:
    """A manifest longer than any that is read fails the backup before it is stored."""
    folder: Any = None
    with pytest.raises(BundleError, match="too many to be read again"):
        backup.store_manifest(folder, {"objects": "x" * MOST_SMALL_BYTES})
