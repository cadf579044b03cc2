"""How many people each department will hire in each of the next twelve months. For Vertex AI.

    python -m jobs.forecast

For each department, a Poisson regression with a trend over the years and a season of twelve months
is fitted to its hires in the newest complete backup. The same is done as if each of the past years
were still to come, and compared with the plainest forecast, the same month of the year before.
Nothing is random: the same backup gives the same forecast. docs/deploy.md says what is stored below
GCS_PATH.
"""

import argparse
import datetime
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
import threadpoolctl
from sklearn.linear_model import PoissonRegressor

import backup
from hiring import logs
from hiring.deadline import Deadline
from hiring.errors import BadSource
from hiring.settings import storage_settings
from hiring.storage import newest
from hiring.storage.manifest import MANIFEST
from hiring.storage.objects import OutputFolder
from hiring.version import WRITER
from jobs import command
from pages.names import Label, labels
from pages.page import PAGES
from restore.backup_source import Backup

YEAR = 12  # months
LONGEST = 10 * YEAR
"""Maximum number of months to learn from; older ones say little about next year."""
TREND_AND_SEASON = 2 * YEAR
"""Number of months needed to tell a trend from a season."""
SHORTEST = TREND_AND_SEASON + YEAR
"""Minimum number of months: with a year to test on."""
SHRINKAGE = 0.1
"""Strength of the pull of trend and season towards none: a few hires show neither of them."""
PAGE = Path(__file__).with_name("forecast.html")
YEARS_SHOWN = 3

Months = npt.NDArray[np.float64]
"""Number of hires in consecutive months."""

# From a department's hires, and the first month of those, to the twelve months that follow.
Method = Callable[[Months, int], Months]


# The history


@dataclass(frozen=True)
class History:
    """The hires of each department, by its id, in the months from `start` to before `end`.

    Months are counted from the year 0; `coming` is the first one after the backup's.
    """

    start: int
    end: int
    coming: int
    departments: dict[Any, Any]
    hires: dict[Any, Months]


def read_history(source: Backup) -> History:
    """Hires by department, from the first month with hires to the last one.

    The month of the backup is not over, so it is left out. Months without hires at the end mean
    that the records end there, not that hiring stopped.
    """
    departments = {row["id"]: row["department"] for row in source.records("departments")}
    taken = _month(source.manifest.taken_at)
    counted = Counter(
        (row["department_id"], _month(row["datetime"]))
        for row in source.records("employees")
        if row["department_id"] in departments and row["datetime"] is not None
    )
    months = [month for _, month in counted if month < taken]
    end = max(months, default=-1) + 1
    start = max(min(months, default=0), end - LONGEST)
    hires = {
        key: np.array([counted[key, month] for month in range(start, end)], dtype=np.float64)
        for key in departments
    }
    return History(start, end, taken + 1, departments, hires)


def _month(moment: object) -> int:
    year, month = str(moment).split("-")[:2]
    return int(year) * YEAR + int(month) - 1


def as_text(month: int) -> str:
    """A month, counted from the year 0, such as 2021-03."""
    return f"{month // YEAR:04}-{month % YEAR + 1:02}"


# The forecast


def poisson(months: Months, start: int, skipped: int = 0) -> Months:
    """The forecast of a Poisson regression with trend and season, after some skipped months.

    A department's history begins with its first hire. The forecast is the mean for a history of
    less than two years, and 0 for a department without hires.
    """
    hired = np.flatnonzero(months)
    if not len(hired):
        return np.zeros(YEAR)
    start, months = start + int(hired[0]), months[hired[0] :]
    if len(months) < TREND_AND_SEASON:
        return np.full(YEAR, months.mean())
    model = PoissonRegressor(alpha=SHRINKAGE, tol=1e-6, max_iter=1000)
    model.fit(_features(start, np.arange(len(months))), months)
    coming: Months = model.predict(_features(start, np.arange(YEAR) + len(months) + skipped))
    return coming


def _features(start: int, months: npt.NDArray[np.int64]) -> Months:
    """A row for each month: years since the start, and twelve columns, 1 for its own month."""
    seasons = (months[:, None] + start) % YEAR == np.arange(YEAR)
    return np.column_stack([months / YEAR, seasons])


METHODS: dict[str, Method] = {
    "poisson": poisson,
    "same_month_last_year": lambda months, _start: months[-YEAR:],
}


def measure(history: History) -> dict[str, Any]:
    """Measures the errors of both forecasts in each past year that has two years before it.

    Returns:
        For each year, and for all of them, the mean absolute error and the root of the mean squared
        error over all months of the departments that hire, in hires.
    """
    length = history.end - history.start
    years = range(length % YEAR + TREND_AND_SEASON, length, YEAR)
    misses = {
        name: np.array([_misses(method, history, first) for first in years])
        for name, method in METHODS.items()
    }
    overall = {name: _errors(missed) for name, missed in misses.items()}
    return {
        "years": [
            {
                "first_month": as_text(history.start + first),
                "last_month": as_text(history.start + first + YEAR - 1),
                **{name: _errors(missed[place]) for name, missed in misses.items()},
            }
            for place, first in enumerate(years)
        ],
        "all": overall,
        "better": min(METHODS, key=lambda name: overall[name]["mean_absolute_error"]),
    }


def _misses(method: Method, history: History, first: int) -> Months:
    hiring = [months for months in history.hires.values() if months.any()]
    forecasts = [method(months[:first], history.start) for months in hiring]
    return np.array(forecasts) - [months[first : first + YEAR] for months in hiring]


def _errors(misses: Months) -> dict[str, float]:
    return {
        "mean_absolute_error": round(float(np.abs(misses).mean()), 3),
        "root_mean_squared_error": round(float(np.sqrt((misses**2).mean())), 3),
    }


def forecast(history: History) -> list[dict[str, Any]]:
    """The forecast from the month after the backup on: a row for each department and month."""
    skipped = history.coming - history.end
    return [
        {
            "department_id": key,
            "department": name,
            "month": as_text(history.coming + place),
            "hires": round(float(number), 2),
        }
        for key, name in history.departments.items()
        for place, number in enumerate(poisson(history.hires[key], history.start, skipped))
    ]


# What is stored


def render(history: History, forecast: list[dict[str, Any]], errors: dict[str, Any]) -> str:
    """The page: sums beside those of past years, and for each department past and coming months.

    The rows of the forecast are in the order of the departments, of which there is at least one.
    """
    months = [as_text(month) for month in range(history.start, history.end)]
    names = labels(history.departments)
    years = sorted({month[:4] for month in months})[-YEARS_SHOWN:]
    departments = []
    for place, (key, hires) in enumerate(history.hires.items()):
        past = [(month, int(number)) for month, number in zip(months, hires, strict=True)]
        sums = [sum(number for month, number in past if month[:4] == year) for year in years]
        coming = [(row["month"], row["hires"]) for row in forecast[place * YEAR :][:YEAR]]
        total = sum(number for _, number in coming)
        departments.append((names[key], past[-YEARS_SHOWN * YEAR :], coming, [*sums, total]))
    departments.sort(key=lambda department: -department[3][-1])
    rows = [(label, sums) for label, _, _, sums in departments]
    totals = [sum(column) for column in zip(*(sums for _, sums in rows), strict=True)]
    gap = history.coming - history.end
    return PAGES.from_string(PAGE.read_text()).render(
        charts=departments,
        years=years,
        rows=[*rows, (Label("Total"), totals)],
        coming=[as_text(history.coming), as_text(history.coming + YEAR - 1)],
        last=months[-1],
        # The month of the backup itself is not over.
        gap=gap if gap > 1 else 0,
        band=errors["all"]["poisson"]["root_mean_squared_error"],
        better=errors["better"] == "poisson",
    )


def _json(content: object) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"


def run() -> None:
    """Forecasts from the newest complete backup; BadSource if its history is too short.

    An exception leaves no manifest, and as far as possible no object.
    """
    settings, deadline = storage_settings(), Deadline(command.JOB_SECONDS)
    source = Backup(newest.find_newest(settings, deadline))
    history = read_history(source)
    if (length := history.end - history.start) < SHORTEST:
        raise BadSource(
            f"nothing was stored: {source.address} has hires over {length} months,"
            f" a forecast needs {SHORTEST}"
        )
    # On matrices this small, threads only wait for each other; a single one sums in a fixed order.
    with threadpoolctl.threadpool_limits(1):
        errors = measure(history)
        coming = forecast(history)
    path = f"forecasts/{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S.%fZ}/"
    folder = OutputFolder(settings.require_storage(), path, None, deadline)
    try:
        page = render(history, coming, errors).encode()
        objects = [
            folder.put("forecast.json", "application/json", _json(coming)),
            folder.put("forecast.html", "text/html; charset=utf-8", page),
            folder.put("errors.json", "application/json", _json(errors)),
        ]
        manifest = {
            "format": 1,
            "writer": WRITER,
            "backup": source.address,
            "first_month": as_text(history.start),
            "last_month": as_text(history.end - 1),
            "method": "poisson",
            "scikit_learn": sklearn.__version__,
            "objects": objects,
        }
        backup.store_manifest(folder, manifest)
    except BaseException:
        folder.remove(first=MANIFEST)
        raise
    logs.event("forecast stored", address=folder.address)
    severity = "INFO" if errors["better"] == "poisson" else "WARNING"
    logs.event("forecast measured", severity, better=errors["better"], **errors["all"])


if __name__ == "__main__":
    argparse.ArgumentParser("jobs.forecast", description="Forecasts hires.").parse_args()
    sys.exit(command.run(run))
