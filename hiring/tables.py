"""The three tables."""

TABLES = ("departments", "jobs", "employees")
"""Referenced ones first."""
