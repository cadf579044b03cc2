"""Folders of CSV files to import."""

from pathlib import Path

DEPARTMENTS = "1,Sales\n2,R&D\n"
JOBS = "1,Clerk\n2,Analyst\n"
EMPLOYEES = "1,Ana,2021-01-01,1,1\n"


def write(
    folder: Path,
    employees: str | bytes | None = EMPLOYEES,
    departments: str | bytes | None = DEPARTMENTS,
    jobs: str | bytes | None = JOBS,
    name: str = "employees.csv",
) -> Path:
    """Writes the three files, text as UTF-8, and returns their folder; None omits a file."""
    files = {"departments.csv": departments, "jobs.csv": jobs, name: employees}
    for file, text in files.items():
        if text is not None:
            (folder / file).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder
