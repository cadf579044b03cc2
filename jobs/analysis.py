"""Both reports for every year with a hire. For Spark on Dataproc.

    spark-submit jobs/analysis.py

Reads the newest complete backup. One of Spark's workers counts each object of its tables, with the
reader and the checks of `manage.py restore`. A backup by the function has one object for each
table, a backup by `distributed_backup` one for each range.

    gs://bucket/prefix/analyses/20261122T151624.123456Z/
        quarterly-hired-2021.json  hiring-by-department-2021.json  ...
        manifest.json

The rows are those of `reports.py`, ordered by the code points of the names: a backup does not
contain the order of the columns' collation.

Needs GCS_PATH.
"""

import sys
from collections.abc import Iterator
from typing import Any

from pyspark.sql import SparkSession

import reports
from hiring.settings import storage_settings
from hiring.storage import folders
from jobs import command, hire_history, results
from restore import backup_source

HIRES = "year INT, quarter INT, department_id STRING, job_id STRING, hired LONG"
"""The columns of the counted hires; ids are the keys of `hires.key_of`."""

QUARTERLY_HIRED = """
SELECT hires.year, departments.id AS department_id, jobs.id AS job_id, q1, q2, q3, q4
FROM (
    SELECT year, department_id, job_id,
        SUM(IF(quarter = 1, hired, 0)) AS q1,
        SUM(IF(quarter = 2, hired, 0)) AS q2,
        SUM(IF(quarter = 3, hired, 0)) AS q3,
        SUM(IF(quarter = 4, hired, 0)) AS q4
    FROM hires
    GROUP BY year, department_id, job_id
) AS hires
JOIN departments ON departments.id = hires.department_id
JOIN jobs ON jobs.id = hires.job_id
"""
"""The statement of `reports.py`, for all years."""

HIRING_BY_DEPARTMENT = """
SELECT year, id, hired
FROM (
    SELECT hires.year, departments.id, hires.hired,
        SUM(hires.hired) OVER (PARTITION BY hires.year) AS total,
        COUNT(*) OVER (PARTITION BY hires.year) AS hiring_departments
    FROM (
        SELECT year, department_id, SUM(hired) AS hired
        FROM hires
        GROUP BY year, department_id
    ) AS hires
    JOIN departments ON departments.id = hires.department_id
) AS counted
WHERE hired * hiring_departments > total
"""
"""The statement of `reports.py`, for all years."""

Names = dict[str, tuple[Any, Any]]
Years = dict[int, list[reports.ReportRow]]
"""A report's rows by year."""


def count(
    address: str, part: hire_history.StoredPart
) -> Iterator[tuple[int, int, str | None, str | None, int]]:
    """Counts the hires of a part, as rows of HIRES. Runs on a worker."""
    backup = backup_source.Backup(folders.find(address))
    for (year, month, department, job), number in hire_history.count(backup, part).items():
        if reports.FIRST_YEAR <= year <= reports.LAST_YEAR:
            yield year, (month + 2) // 3, department, job, number


def analyse(spark: SparkSession, backup: backup_source.Backup) -> dict[str, Years]:
    """Both reports for every year with a hire, by their names.

    Raises:
        BadSource, StorageFailed: the backup is damaged or cannot be read.
    """
    departments = hire_history.names(backup, "departments", "department")
    jobs = hire_history.names(backup, "jobs", "job")
    _show(spark, "departments", departments)
    _show(spark, "jobs", jobs)
    address, parts = backup.address, hire_history.parts(backup, "employees")
    counted = spark.sparkContext.parallelize(parts, len(parts)).flatMap(
        lambda part: count(address, part)
    )
    spark.createDataFrame(counted, HIRES).cache().createOrReplaceTempView("hires")
    years = [row.year for row in spark.sql("SELECT DISTINCT year FROM hires").collect()]
    return {
        reports.QUARTERLY_HIRED.name: _quarterly_hired(spark, years, departments, jobs),
        reports.HIRING_BY_DEPARTMENT.name: _hiring_by_department(spark, years, departments),
    }


def _show(spark: SparkSession, table: str, names: Names) -> None:
    ids = [(key,) for key in names]
    spark.createDataFrame(ids, "id STRING").createOrReplaceTempView(table)


def _quarterly_hired(
    spark: SparkSession, years: list[int], departments: Names, jobs: Names
) -> Years:
    found: Years = {year: [] for year in years}
    for year, department_id, job_id, *quarters in spark.sql(QUARTERLY_HIRED).collect():
        ids = departments[department_id][0], jobs[job_id][0]
        row = departments[department_id][1], jobs[job_id][1], *quarters
        found[year].append((*row, *ids))
    for rows in found.values():
        rows.sort(key=lambda row: (_by_name(row[0]), _by_name(row[1]), row[6], row[7]))
    return found


def _hiring_by_department(spark: SparkSession, years: list[int], departments: Names) -> Years:
    found: Years = {year: [] for year in years}
    for year, key, hired in spark.sql(HIRING_BY_DEPARTMENT).collect():
        identity, name = departments[key]
        found[year].append((identity, name, hired))
    for rows in found.values():
        rows.sort(key=lambda row: (-row[2], _by_name(row[1]), row[0]))
    return found


def _by_name(name: Any) -> tuple[bool, Any]:
    # MySQL sorts NULL first.
    return name is not None, name


def run() -> None:
    """Analyses the newest complete backup.

    Raises:
        BundleError: the analysis failed; no manifest was stored.
    """
    location = storage_settings().require_storage()
    backup = command.newest_backup()
    spark = SparkSession.builder.appName("hiring-analysis").getOrCreate()
    found = analyse(spark, backup)
    contents = {
        f"{report.name}-{year}.json": "".join(reports.as_json(report.columns, rows)).encode()
        for report in (reports.QUARTERLY_HIRED, reports.HIRING_BY_DEPARTMENT)
        for year, rows in sorted(found[report.name].items())
    }
    manifest = {"backup": backup.address, "taken_at": backup.manifest.taken_at}
    results.store(location, "analyses", contents, manifest)


if __name__ == "__main__":
    command.read_no_arguments(__doc__)
    sys.exit(command.run(run))
