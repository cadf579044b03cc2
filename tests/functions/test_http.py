"""What a request may ask: methods, parameters, bodies, and which requests are refused."""

import json
from typing import Any

import pytest
from conftest import Bucket, Database
from support import count
from werkzeug.test import Client

import main

REPORTS = ("/quarterly-hired", "/hiring-by-department")
CHANGES = ("/backup-data", "/truncate-tables")


@pytest.fixture
def rows(database: Database) -> dict[str, int]:
    """Inserts one row into each table; returns the counts."""
    database.insert("departments", [(1, "Sales")])
    database.insert("jobs", [(1, "Clerk")])
    database.insert("employees", [(1, "Ada", "2021-02-03 04:05:06", 1, 1)])
    return {"departments": 1, "jobs": 1, "employees": 1}


def error(response: Any) -> tuple[int, str]:
    """Status and code of an error, whose content is exactly a code and a message."""
    content = json.loads(response.get_data())
    assert list(content) == ["error"]
    assert list(content["error"]) == ["code", "message"]
    assert response.content_type == "application/json"
    return response.status_code, content["error"]["code"]


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "BREW"])
@pytest.mark.parametrize("url", CHANGES)
def test_changes_refuse_other_methods(
    client: Client, database: Database, bucket: Bucket, rows: dict[str, int], url: str, method: str
) -> None:
    """Any method but GET and POST is 405 for a function that changes data, and changes nothing."""
    response = client.open(url, method=method)
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, POST")
    assert (count(database), bucket.blobs()) == (rows, {})


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("url", REPORTS)
def test_reports_refuse_other_methods(client: Client, url: str, method: str) -> None:
    """Any method but GET and HEAD is 405 for a report."""
    response = client.open(url, method=method)
    assert error(response) == (405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "header",
    [
        {"Sec-Purpose": "prefetch"},
        {"Sec-Purpose": "prefetch;prerender"},
        {"Purpose": "prefetch"},
        {"Purpose": "preview"},
        {"X-Purpose": "preview"},
        {"X-Moz": "prefetch"},
    ],
)
@pytest.mark.parametrize("url", CHANGES)
def test_changes_refuse_a_prefetch(
    client: Client,
    database: Database,
    bucket: Bucket,
    rows: dict[str, int],
    url: str,
    header: dict[str, str],
) -> None:
    """A browser's prefetch of a function that changes data is 403 and changes nothing."""
    assert error(client.get(url, headers=header)) == (403, "prefetch_refused")
    assert (count(database), bucket.blobs()) == (rows, {})


@pytest.mark.parametrize("url", CHANGES)
def test_changes_refuse_a_body(
    client: Client, database: Database, bucket: Bucket, rows: dict[str, int], url: str
) -> None:
    """A body such as `curl -d dry_run=true` sends is 400 and changes nothing."""
    assert error(client.post(url, data={"dry_run": "true"})) == (400, "bad_parameter")
    assert (count(database), bucket.blobs()) == (rows, {})


@pytest.mark.parametrize(
    ("url", "query"),
    [
        ("/quarterly-hired", "yaer=2021"),
        ("/quarterly-hired", "year=2021&year=2021"),
        ("/quarterly-hired", "year="),
        ("/quarterly-hired", "year=999"),
        ("/quarterly-hired", "year=0999"),
        ("/quarterly-hired", "year=9999"),
        ("/quarterly-hired", "year=-2021"),
        ("/quarterly-hired", "year=2021.0"),
        ("/quarterly-hired", "year=%202021"),
        ("/quarterly-hired", "year=%D9%A2%D9%A0%D9%A2%D9%A1"),
        ("/quarterly-hired", "year=%FF%FE"),
        ("/quarterly-hired", "year=2021-2019"),
        ("/quarterly-hired", "year=2021-"),
        ("/quarterly-hired", "year=1971-2021"),
        ("/quarterly-hired", "year=9998-9999"),
        ("/quarterly-hired", "year=2019-2020-2021"),
        ("/hiring-by-department", "format=xml"),
        ("/hiring-by-department", "format=JSON"),
        ("/hiring-by-department", "dry_run=true"),
        ("/backup-data", "year=2021"),
        ("/backup-data", "backup_first=true"),
        ("/truncate-tables", "dry_run"),
        ("/truncate-tables", "dry_run=1"),
        ("/truncate-tables", "dry_run=True"),
        ("/truncate-tables", "dry_run=true&dry_run=true"),
        ("/truncate-tables", "dryrun=true"),
        ("/truncate-tables", "backup_first=yes"),
    ],
)
def test_bad_parameters_are_refused(
    client: Client, database: Database, bucket: Bucket, rows: dict[str, int], url: str, query: str
) -> None:
    """An unknown, repeated or malformed parameter is 400 and changes nothing."""
    assert error(client.get(f"{url}?{query}")) == (400, "bad_parameter")
    assert (count(database), bucket.blobs()) == (rows, {})


@pytest.mark.parametrize("url", ["/quarterly-hired", "/backup-data", "/truncate-tables"])
@pytest.mark.parametrize("path", ["/dry_run=true", "/year=2020", "/x/"])
def test_a_path_is_refused(
    client: Client, database: Database, bucket: Bucket, rows: dict[str, int], url: str, path: str
) -> None:
    """A path after the function's name, such as a forgotten `?` makes, is 400; nothing changes."""
    assert error(client.get(f"{url}{path}")) == (400, "bad_parameter")
    assert (count(database), bucket.blobs()) == (rows, {})


def test_a_bad_parameters_error_names_what_is_accepted(client: Client) -> None:
    """The message of a 400 names what the function accepts, and does not echo the request."""
    answers = {
        query: json.loads(client.get(query).get_data())["error"]["message"]
        for query in (
            "/quarterly-hired?yaer=2021",
            "/quarterly-hired?year=21",
            "/quarterly-hired?format=pdf",
            "/truncate-tables?dry_run=1",
            "/backup-data?x=<script>",
        )
    }
    assert answers == {
        "/quarterly-hired?yaer=2021": (
            "unknown parameter; this function takes: year, format, chart, order, filter, jobs, open"
        ),
        "/quarterly-hired?year=21": (
            "year takes four digits, 1000 to 9998, or a range of at most 50 years;"
            " for example year=2021 or year=2019-2021"
        ),
        "/quarterly-hired?format=pdf": (
            "format takes one of text, html, json, ndjson, csv; for example format=text"
        ),
        "/truncate-tables?dry_run=1": "dry_run takes one of true, false; for example dry_run=true",
        "/backup-data?x=<script>": (
            "unknown parameter; this function takes: dry_run, max_age_hours, max_drill_age_days"
        ),
    }


def test_a_request_is_refused_before_the_database_is_opened(
    client: Client, environment: pytest.MonkeyPatch
) -> None:
    """A bad parameter is 400 even if the database cannot be reached."""
    environment.setenv("DB_SOCKET", "/nowhere")
    assert error(client.get("/quarterly-hired?year=x")) == (400, "bad_parameter")
    assert error(client.get("/truncate-tables?dry_run=x")) == (400, "bad_parameter")


@pytest.mark.parametrize("value", ["true", "false"])
def test_dry_run_counts_and_changes_nothing(
    client: Client, database: Database, bucket: Bucket, rows: dict[str, int], value: str
) -> None:
    """`dry_run=true` answers the row counts and changes nothing, even with `backup_first`."""
    response = client.get(f"/truncate-tables?dry_run=true&backup_first={value}")
    assert json.loads(response.get_data()) == {"dry_run": True, "rows": rows}
    assert (count(database), bucket.blobs()) == (rows, {})


def test_a_truncation_without_a_request(
    client: Client, database: Database, rows: dict[str, int]
) -> None:
    """`truncar_tablas()` called without a request empties the tables as a GET does."""
    response = main.truncar_tablas()
    assert json.loads(response.get_data()) == {"dry_run": False, "rows": rows}
    assert count(database) == {"departments": 0, "jobs": 0, "employees": 0}


def test_post_does_what_get_does_for_changes(
    client: Client, database: Database, rows: dict[str, int]
) -> None:
    """A POST without a body backs up and truncates as a GET does."""
    assert client.post("/backup-data").status_code == 200
    response = client.post("/truncate-tables?backup_first=false")
    assert json.loads(response.get_data()) == {"dry_run": False, "rows": rows}
    assert count(database) == {"departments": 0, "jobs": 0, "employees": 0}


def test_if_match_is_ignored(client: Client) -> None:
    """A report answers 200 to any If-Match: the header is for requests that change something."""
    for tag in ("*", '"other"'):
        response = client.get("/quarterly-hired?format=json", headers={"If-Match": tag})
        assert (response.status_code, json.loads(response.get_data())) == (200, [])


@pytest.mark.parametrize(
    "url",
    [*CHANGES, "/backup-data?dry_run=true", "/truncate-tables?unknown", "/quarterly-hired?unknown"],
)
def test_only_reports_may_be_kept(client: Client, url: str) -> None:
    """No cache keeps an answer of a function that changes data, nor an error."""
    assert client.get(url).headers["Cache-Control"] == "no-store"
    assert client.get("/quarterly-hired").headers["Cache-Control"] == "private, no-cache"


def test_a_long_parameter_is_cut_in_the_log(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log line has the first 200 characters of a parameter."""
    client.get(f"/quarterly-hired?format=html&order={5000 * 'x'}")
    *_, answered = capsys.readouterr().err.splitlines()
    assert json.loads(answered)["order"] == 200 * "x"


@pytest.mark.parametrize("url", REPORTS + CHANGES)
def test_a_query_has_at_most_64_kib(client: Client, rows: dict[str, int], url: str) -> None:
    """A longer query is refused before it is parsed; a report opens at most 500 departments."""
    long = "format=html&open=" + "1," * 40_000
    for refused in (
        client.get(url, query_string=long),
        client.put(url, query_string=long, data=b"x"),
        client.get(f"{url}/x", query_string=long),
    ):
        assert error(refused) == (400, "bad_parameter")
        assert "this function takes a query of at most 65,536 bytes" in refused.text
    if url == "/quarterly-hired":
        assert client.get(url, query_string=long[:65_536]).status_code == 200
        for most, status in ((500, 200), (501, 400)):
            ids = ",".join(map(str, range(most)))
            response = client.get(url, query_string=f"format=html&open={ids}")
            assert response.status_code == status
        assert "open takes at most 500 ids; jobs=shown opens all departments" in response.text
