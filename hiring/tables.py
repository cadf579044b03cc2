"""The names of the three tables, parents before children."""

TABLES = ("departments", "jobs", "employees")
