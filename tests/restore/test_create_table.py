"""A restore runs a CREATE TABLE of a backup only if all it does is make one table of InnoDB."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import every_type
import pymysql
import pytest
import stored_backup
from conftest import Bucket, Database, Loader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import some

from hiring.errors import BadSource
from hiring.mysql.create_table import TOKEN, fault, within
from hiring.mysql.statements import quote

Backup = Callable[..., dict[str, Any]]

PLAIN = """CREATE TABLE `jobs` (
  `id` int unsigned NOT NULL AUTO_INCREMENT,
  `job` varchar(255) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL DEFAULT 'it''s; --',
  `day` date GENERATED ALWAYS AS (cast(`at` as date)) VIRTUAL /*!80023 INVISIBLE */,
  PRIMARY KEY (`id`),
  KEY `by name` (`job`(10) DESC,((`id` + 1))) COMMENT 'LIKE /* it */ was',
  CONSTRAINT `same` FOREIGN KEY (`id`) REFERENCES `other`.`jobs` (`id`) ON DELETE SET NULL,
  CONSTRAINT `named` CHECK ((`job` like _utf8mb4'a%') and (char_length(`job`) > 0))
) ENGINE=InnoDB AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci COMMENT='a;b'
/*!50100 PARTITION BY RANGE (to_days(`at`))
(PARTITION `first` VALUES LESS THAN (738000) ENGINE = InnoDB,
 PARTITION `rest` VALUES LESS THAN MAXVALUE ENGINE = InnoDB) */"""

HOSTILE = {
    "a file": "CREATE TABLE `jobs` (`id` int) ENGINE=InnoDB AS SELECT load_file('/etc/passwd')",
    "another table": "CREATE TABLE `jobs` (`id` int) ENGINE=InnoDB SELECT * FROM `mysql`.`user`",
    "without columns": "CREATE TABLE `jobs` SELECT 1",
    "like": "CREATE TABLE `jobs` LIKE `secret`.`rows`",
    "like inside": "CREATE TABLE `jobs` (LIKE `secret`.`rows`) ENGINE=InnoDB",
    "like alone": "CREATE TABLE `jobs` (LIKE `rows`) ENGINE=InnoDB",
    "a path": "CREATE TABLE `jobs` (`id` int) ENGINE=InnoDB DATA DIRECTORY='/srv/www'",
    "a path for a part": PLAIN.replace("MAXVALUE", "MAXVALUE DATA DIRECTORY '/srv/www'"),
    "others' rows": "CREATE TABLE `jobs` (`id` int) ENGINE=MERGE UNION=(`secret`)",
    "another engine": "CREATE TABLE `jobs` (`id` int) ENGINE=InnoDB ENGINE=FEDERATED",
    "no engine": "CREATE TABLE `jobs` (`id` int)",
    "a part elsewhere": PLAIN.replace("MAXVALUE ENGINE = InnoDB", "MAXVALUE ENGINE = CSV"),
    "another server": "CREATE TABLE `jobs` (`id` int) ENGINE=InnoDB CONNECTION='mysql://x/y/z'",
    "a function": "CREATE TABLE `jobs` (`id` int DEFAULT (sleep(9))) ENGINE=InnoDB",
    "a loadable function": "CREATE TABLE `jobs` (`id` int DEFAULT (log_error('x'))) ENGINE=InnoDB",
    "a stored function": "CREATE TABLE `jobs` (`id` int DEFAULT (`evil`(9))) ENGINE=InnoDB",
    "a function as a name": "CREATE TABLE `jobs` (`id` int) ENGINE=InnoDB CHARSET=load_file('/x')",
    "a variable": "CREATE TABLE `jobs` (`id` int DEFAULT (@@port)) ENGINE=InnoDB",
    "a sequence": "CREATE TABLE `jobs` (`id` int DEFAULT (setval(`s`,1))) ENGINE=InnoDB",
    "a sequence of a check": (
        "CREATE TABLE `jobs` (`id` int DEFAULT 1 CHECK (nextval(`s`) > 0)) ENGINE=InnoDB"
    ),
    "a sequence of a generated column": (
        "CREATE TABLE `jobs` (`id` int GENERATED ALWAYS AS (lastval(`s`))) ENGINE=InnoDB"
    ),
    "a sequence for some": (
        "CREATE TABLE `jobs` (`id` int /*!99999 DEFAULT */ NULL /*!99999 + */ nextval(`s`))"
        " ENGINE=InnoDB"
    ),
    "a sequence in other words": (
        "CREATE TABLE `jobs` (`id` int DEFAULT (NEXT VALUE FOR `s`)) ENGINE=InnoDB"
    ),
    "a table of a column": ("CREATE TABLE `jobs` (`id` int REFERENCES `other`.`t`) ENGINE=InnoDB"),
    "a subquery": "CREATE TABLE `jobs` (`id` int, CHECK (1 in (SELECT 1))) ENGINE=InnoDB",
    "another name": "CREATE TABLE `other` (`id` int) ENGINE=InnoDB",
    "another database": "CREATE TABLE `mysql`.`jobs` (`id` int) ENGINE=InnoDB",
    "temporary": "CREATE TEMPORARY TABLE `jobs` (`id` int) ENGINE=InnoDB",
    "a replacement": "CREATE OR REPLACE TABLE `jobs` (`id` int) ENGINE=InnoDB",
    "a second statement": "CREATE TABLE `jobs` (`id` int) ENGINE=InnoDB; DROP TABLE `other`",
    "a comment": "CREATE TABLE `jobs` (`id` int) ENGINE=InnoDB -- as it was",
    "comments for some": (
        "CREATE TABLE `jobs` (`id` int) ENGINE=InnoDB /*!50000 VALUES */ /*!99999 IN */"
        " /*!50000 ROW(1, */ /*!99999 COLLATE */ /*!50000 load_file */ /*!99999 binary */"
        " /*!50000 ('/etc/passwd')) */"
    ),
    "a quoted function of a default": (
        "CREATE TABLE `jobs` (`id` int, date int default `evil`((9))) ENGINE=InnoDB"
    ),
    "a quoted function of a generated column": (
        "CREATE TABLE `jobs` (`id` int, date int as (`evil`(10)) stored) ENGINE=InnoDB"
    ),
    "a comment for some": "CREATE TABLE `jobs` (`id` int) ENGINE=InnoDB /*!50100 SELECT 1 */",
    "the end of a comment": (
        "CREATE TABLE `jobs` (`id` int) ENGINE=InnoDB /*!99999 COMMENT '*/ SELECT 1 -- ' */"
    ),
    "a call for some": (
        "CREATE TABLE `jobs` (`id` int DEFAULT (`evil` /*!99999 + */ (9))) ENGINE=InnoDB"
    ),
    "a column like a word": (
        "CREATE TABLE `jobs` (`select` int, `data` int, `directory` int) ENGINE=InnoDB"
        " PARTITION BY HASH (id) (PARTITION p DATA DIRECTORY '/x' ENGINE = InnoDB)"
    ),
    "a word after a number": (
        "CREATE TABLE `jobs` (`id` int) ENGINE=InnoDB AUTO_INCREMENT=1.select `id` from `secret`"
    ),
    "an engine after a number": (
        "CREATE TABLE `jobs` (`id` int) ENGINE=InnoDB AUTO_INCREMENT=1.5e1ENGINE='BLACKHOLE'"
    ),
    "a blank that is part of a name": "CREATE TABLE `jobs` (`id`\u00a0int) ENGINE=InnoDB",
    "nothing": "",
}


def test_what_a_server_prints_is_accepted() -> None:
    """A statement with columns, keys, constraints, comments and parts is accepted."""
    assert fault("jobs", PLAIN) is None


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_statement_is_refused(case: str) -> None:
    """A statement that reads, names a path, calls or does something else is refused."""
    assert fault("jobs", HOSTILE[case])


@pytest.mark.parametrize(
    ("definition", "instead", "left_out"),
    [
        ("`id` int DEFAULT concat(',)',nextval(`s`))", "`id` int DEFAULT NULL", "concat(',)',"),
        ("`id` int NOT NULL DEFAULT (1 is not null or nextval(`s`))", "`id` int NOT NULL", "(1 is"),
        ("`id` int DEFAULT (not lastval(`s`)) ON UPDATE now()", None, "(not"),
        ("`nextval(` int DEFAULT concat('nextval(',1) COMMENT ' DEFAULT nextval(`s`)'", None, ""),
    ],
)
def test_a_default_from_a_sequence_is_left_out(
    definition: str, instead: str | None, left_out: str
) -> None:
    """Only a default that calls a sequence goes, and only outside quotes."""
    if instead is None:
        instead = definition.replace("(not lastval(`s`))", "NULL")
    found, what = within(f"CREATE TABLE `jobs` (\n  {definition},\n  KEY (`id`)\n)", ["jobs"])
    assert found == f"CREATE TABLE `jobs` (\n  {instead},\n  KEY (`id`)\n)"
    assert [each.startswith(f"default {left_out}") for each in what] == [True] * bool(left_out)


def test_a_constraint_that_refers_to_another_table_is_left_out() -> None:
    """What refers to a table of another database goes, with its comma; options and parts stay."""
    found, what = within(PLAIN, ["jobs"])
    begin, end = PLAIN.index(",\n  CONSTRAINT `same`"), PLAIN.index(",\n  CONSTRAINT `named`")
    assert (found, what) == (PLAIN[:begin] + PLAIN[end:], ["foreign key same"])
    assert fault("jobs", found) is None


@pytest.mark.parametrize("comment", ["/*!80000 INVISIBLE */", "/*M!100301 INVISIBLE*/"])
def test_the_end_of_a_comment_stays_with_its_key(comment: str) -> None:
    """A key that only some servers hide stays as it is before a constraint that goes."""
    key = f"CREATE TABLE `jobs` (\n  `id` int,\n  KEY `k` (`id`) {comment}"
    constraint = ",\n  CONSTRAINT `out` FOREIGN KEY (`id`) REFERENCES `t` (`id`)"
    end = "\n) ENGINE=InnoDB"
    assert within(key + constraint + end, ["jobs"]) == (key + end, ["foreign key out"])


@pytest.mark.parametrize(
    "columns",
    [
        "`a` int /*!50100 INVISIBLE, `b` int DEFAULT nextval(`s`) */",
        "`a` int /*!50100 INVISIBLE, CONSTRAINT `c` FOREIGN KEY (`a`) REFERENCES `t` (`a`) */",
        "`a` int /*!80000 , CONSTRAINT `c` FOREIGN KEY (`a`) REFERENCES `t` (`a`) */",
        "`a` int /*!80000 COMMENT 'x' */ /*M!100000 DEFAULT nextval(`s`) */",
        "`a` int, CHECK (/*!80000 (1) */ /*M!100000 (1 */ ) /*M!100000 ) */",
    ],
)
def test_a_comment_hides_no_sequence_and_no_table(columns: str) -> None:
    """However comments split a statement, its rest opens no sequence and no other table."""
    statement = f"CREATE TABLE `jobs` ({columns}) ENGINE=InnoDB"
    if fault("jobs", statement) is None:
        try:
            found, _ = within(statement, ["jobs"])
        except BadSource:
            return
        if fault("jobs", found) is None:
            assert ("nextval" in found, "REFERENCES" in found) == (False, False)


@pytest.mark.parametrize("item", ["DEFAULT ", "(", "DEFAULT (nextval(", ",`a` int DEFAULT 1"])
def test_a_long_statement_is_read_in_time(item: str) -> None:
    """200 kB of hostile defaults take a second, not hours."""
    statement = f"CREATE TABLE `jobs` (`id` int {item * (200_000 // len(item))}) ENGINE=InnoDB"
    began = time.monotonic()
    if fault("jobs", statement) is None:
        within(statement, ["jobs"])
    assert time.monotonic() - began < 10


NATIVE = """
bit_and bit_count bit_length bit_or bit_xor column_add column_check column_create column_delete
column_exists column_json column_list concat concat_operator_oracle concat_ws crc32 crc32c
current_date current_role current_time current_timestamp current_user date date_format datediff day
dayname dayofmonth dayofweek dayofyear format format_bytes format_pico_time from_base64 from_days
from_unixtime from_vector inet6_aton inet6_ntoa inet_aton inet_ntoa is_ipv4 is_ipv4_compat
is_ipv4_mapped is_ipv6 is_uuid json_array json_array_append json_array_insert json_arrayagg
json_compact json_contains json_contains_path json_depth json_detailed json_equals json_exists
json_extract json_insert json_keys json_length json_loose json_merge json_merge_patch
json_merge_preserve json_normalize json_object json_objectagg json_overlaps json_pretty json_query
json_quote json_remove json_replace json_schema_valid json_schema_validation_report json_search
json_set json_storage_free json_storage_size json_type json_unquote json_valid json_value log log10
log2 make_set makedate maketime mbrcontains mbrcoveredby mbrcovers mbrdisjoint mbrequal mbrequals
mbrintersects mbroverlaps mbrtouches mbrwithin regexp_instr regexp_like regexp_replace
regexp_substr sha sha1 sha2 st_area st_asbinary st_asgeojson st_astext st_aswkb st_aswkt
st_boundary st_buffer st_buffer_strategy st_centroid st_collect st_contains st_convexhull
st_crosses st_difference st_dimension st_disjoint st_distance st_distance_sphere st_endpoint
st_envelope st_equals st_exteriorring st_frechetdistance st_geohash st_geomcollfromtext
st_geomcollfromtxt st_geomcollfromwkb st_geometrycollectionfromtext st_geometrycollectionfromwkb
st_geometryfromtext st_geometryfromwkb st_geometryn st_geometrytype st_geomfromgeojson
st_geomfromtext st_geomfromwkb st_hausdorffdistance st_interiorringn st_intersection st_intersects
st_isclosed st_isempty st_isring st_issimple st_isvalid st_latfromgeohash st_latitude st_length
st_linefromtext st_linefromwkb st_lineinterpolatepoint st_lineinterpolatepoints
st_linestringfromtext st_linestringfromwkb st_longfromgeohash st_longitude st_makeenvelope
st_mlinefromtext st_mlinefromwkb st_mpointfromtext st_mpointfromwkb st_mpolyfromtext
st_mpolyfromwkb st_multilinestringfromtext st_multilinestringfromwkb st_multipointfromtext
st_multipointfromwkb st_multipolygonfromtext st_multipolygonfromwkb st_numgeometries
st_numinteriorring st_numinteriorrings st_numpoints st_overlaps st_pointatdistance
st_pointfromgeohash st_pointfromtext st_pointfromwkb st_pointn st_pointonsurface st_polyfromtext
st_polyfromwkb st_polygonfromtext st_polygonfromwkb st_relate st_simplify st_srid st_startpoint
st_swapxy st_symdifference st_touches st_transform st_union st_validate st_within st_x st_y time
time_format time_to_sec timediff timestamp to_base64 to_char to_days to_seconds to_vector trim
trim_oracle utc_date utc_time utc_timestamp uuid uuid_short uuid_to_bin vector_dim vector_to_string
week weekday weekofyear column_get date_add date_sub timestampadd timestampdiff json_table
"""
"""Functions of MySQL 9.7 and MariaDB 10.11, by the families of their names."""


def test_native_functions_are_accepted() -> None:
    """No function of the servers' own is refused for its name."""
    statement = "CREATE TABLE `jobs` (`id` int DEFAULT ({name}(1))) ENGINE=InnoDB"
    refused = [name for name in NATIVE.split() if fault("jobs", statement.format(name=name))]
    assert refused == []


PHRASES = [
    "SELECT 1",
    "AS SELECT * FROM `t`",
    "UNION=(`t`)",
    "DATA DIRECTORY='/'",
    "INDEX DIRECTORY='/'",
    "CONNECTION='x'",
    "ENGINE=MyISAM",
    "; DROP TABLE `t`",
    "#",
    "-- x\n",
    "/* x */",
    "load_file('/x')",
    "`f`('x')",
    "@x",
    "(SELECT 1)",
    "INTO OUTFILE '/x'",
    "TABLE `t`",
    "VALUES ROW(1)",
]


@given(st.data())
def test_a_phrase_anywhere_makes_a_statement_refused(data: st.DataObject) -> None:
    """Wherever a hostile phrase stands between the tokens of a statement, it is refused."""
    places = [found.end() for found in TOKEN.finditer(PLAIN)]
    place = data.draw(st.sampled_from(places))
    phrase = data.draw(st.sampled_from(PHRASES))
    assert fault("jobs", f"{PLAIN[:place]} {phrase} {PLAIN[place:]}")


@given(st.text())
def test_any_text_has_an_answer(text: str) -> None:
    """Whatever stands in the place of a statement is refused, in time."""
    assert fault("jobs", text)
    assert fault("jobs", PLAIN + text) is None or text.strip(" \t\n\r\f\v")


def printed(database: Database, table: str) -> str:
    statement: str = database.execute(f"SHOW CREATE TABLE {table}")[0][1]
    return statement


TABLES = {
    "keys": """
        id INT, t TEXT, g GEOMETRY NOT NULL, j INT, FULLTEXT KEY (t), SPATIAL KEY (g),
        UNIQUE KEY `a b` (t(10), id) COMMENT 'x', KEY (j) USING BTREE, PRIMARY KEY (id DESC)
    """,
    "expressions": """
        a INT CHECK (a BETWEEN 1 AND 5 OR a NOT IN (7, 8)),
        b VARCHAR(20) DEFAULT (CONCAT('a', 'b')),
        c DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
        d INT AS (CASE WHEN a IS NULL THEN 0 ELSE a DIV 2 END) STORED,
        e VARCHAR(50) AS (DATE_FORMAT(c + INTERVAL 1 DAY, '%Y')) VIRTUAL,
        f JSON DEFAULT (JSON_OBJECT('a', 1)), g VARCHAR(9) AS (LEFT(b, 3) COLLATE utf8mb4_bin),
        h DECIMAL(9,2) AS (CAST(b AS DECIMAL(9,2))), CONSTRAINT x CHECK (b LIKE 'x%' ESCAPE '!')
    """,
    "parts": """
        a INT NOT NULL, b DATE NOT NULL) PARTITION BY RANGE (YEAR(b)) SUBPARTITION BY HASH (a)
        SUBPARTITIONS 2 (PARTITION p VALUES LESS THAN (2020), PARTITION q VALUES LESS THAN MAXVALUE
    """,
    "lists": """
        a INT NOT NULL, b VARCHAR(9)) COMMENT 'all; of -- it' STATS_PERSISTENT = 1
        ROW_FORMAT = COMPRESSED PARTITION BY LIST COLUMNS (b) (PARTITION p VALUES IN ('a', 'b')
    """,
    "hashes": "a INT NOT NULL, `by` INT NOT NULL) MAX_ROWS = 9 PARTITION BY LINEAR KEY (a, `by`",
}


@pytest.mark.parametrize("case", some(list(TABLES), 9))
def test_what_this_server_prints_is_accepted(database: Database, case: str) -> None:
    """Keys, expressions and parts are accepted as this server prints them."""
    database.execute(f"CREATE TABLE any_table ({TABLES[case]})")
    assert fault("any_table", printed(database, "any_table")) is None


def test_every_type_is_accepted(database: Database) -> None:
    """The project's own tables, and one with a column of every type, are accepted."""
    every_type.create(database)
    for table in ("departments", "jobs", "employees"):
        assert fault(table, printed(database, table)) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20))
def test_any_quoted_text_is_accepted(database: Database, text: str) -> None:
    """Names, comments, defaults and members of any text are accepted as the server prints them."""
    with database.connect() as connection, connection.cursor() as cursor:
        value = connection.escape(text)
        name = quote(re.sub("[^\x01-\uffff]", "", text).rstrip() or "x")
        cursor.execute("DROP TABLE IF EXISTS any_table")
        try:
            cursor.execute(
                f"CREATE TABLE any_table ({name} ENUM({value}, 'y') COMMENT {value},"
                f" other VARCHAR(20) DEFAULT {value}, KEY {name} (other)) COMMENT {value}"
            )
        except pymysql.err.Error:
            return  # a name that the server does not take
        cursor.execute("SHOW CREATE TABLE any_table")
        ((_, statement),) = cursor.fetchall()
    assert fault("any_table", statement) is None


def test_a_restore_runs_no_other_statement(
    tmp_path: Path,
    database: Database,
    empty_database: Database,
    bucket: Bucket,
    run_restore: Loader,
    take_backup: Backup,
) -> None:
    """A restore refuses a hostile statement before it creates a table, in a dry run too."""
    database.execute("CREATE TABLE secret AS SELECT 7 AS id")
    copy = stored_backup.download(bucket, take_backup(), tmp_path)
    schema = (copy / "schema.sql").read_text()
    following = ";\n\nCREATE TABLE `employees`"
    hostile = schema.replace(following, f" SELECT * FROM {database.name}.secret{following}")
    stored_backup.rewrite(copy, "schema.sql", hostile.encode())
    for options in ([], ["--dry-run"]):
        loaded = run_restore(copy, *options, DB_NAME=empty_database.name)
        assert loaded.status == 3
        assert "table jobs is missing" in loaded.error
        assert "it has the word SELECT; create the table, then load again" in loaded.error
        assert empty_database.execute("SHOW TABLES") == []


def test_a_backup_warns_of_a_table_that_no_restore_creates(
    database: Database, take_backup: Backup, tmp_path: Path
) -> None:
    """A backup of a table that lies elsewhere is stored, with a warning in the manifest."""
    if database.server.is_mariadb:
        tmp_path.chmod(0o777)
        database.execute("SET GLOBAL innodb_file_per_table = 1")
        database.execute("DROP TABLE employees")
        create = "id INT, name INT, datetime DATE, department_id INT, job_id INT"
        database.execute(f"CREATE TABLE employees ({create}) DATA DIRECTORY = '{tmp_path}'")
        word = "DATA"
    else:
        database.execute("ALTER TABLE employees SECONDARY_ENGINE = rapid")
        word = "SECONDARY_ENGINE"
    answer = take_backup()
    assert answer["schema"]["warnings"] == [
        f"no restore creates table employees: in its CREATE TABLE, it has the word {word}"
    ]
