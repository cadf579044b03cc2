"""What tests in several files ask of the functions and of the database."""

import json
from typing import Any

from conftest import Database
from werkzeug.test import Client

import db


def count(database: Database) -> dict[str, int]:
    """How many rows each of the three tables has."""
    return {table: database.execute(f"SELECT COUNT(*) FROM {table}")[0][0] for table in db.TABLES}


def content(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the three tables, in the order of their first column."""
    return {table: database.execute(f"SELECT * FROM {table} ORDER BY 1") for table in db.TABLES}


def get(client: Client, url: str) -> tuple[int, Any]:
    """Status and content of an answer."""
    response = client.get(url)
    return response.status_code, json.loads(response.get_data())


def error(client: Client, url: str) -> tuple[int, str]:
    """Status and code of an error."""
    status, answer = get(client, url)
    return status, answer["error"]["code"]


def insert_names(database: Database) -> None:
    """Two departments and a job, for employees to belong to."""
    database.insert("departments", [(1, "Sales"), (2, "Support")])
    database.insert("jobs", [(1, "Clerk")])
