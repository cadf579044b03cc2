"""How many people each department will hire in each of the next twelve months. For Vertex AI.

    python -m jobs.forecast

Reads the newest complete backup and counts hires by department and month. For each department, a
Poisson regression with a trend over the years and a season of twelve months is fitted to them. The
same is done as if each of the past years were still to come, and compared with the plainest
forecast there is, the same month of the year before. Nothing is random: the same backup gives the
same forecast.

    gs://bucket/prefix/forecasts/20261122T151624.123456Z/
        forecast.json    department_id, department, month, hires
        forecast.html    the same for people, beside the hires of the past three years
        errors.json      how far both were off in the years that are known, and which was better
        manifest.json    the backup, the months that were learnt from, the versions

Needs GCS_PATH.
"""

import datetime
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
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
from hiring.storage.manifest import MANIFEST
from hiring.storage.objects import OutputFolder
from hiring.version import WRITER
from jobs import command, forecast_page, hire_history
from pages.names import labels
from restore.backup_source import Backup

YEAR = 12
"""Number of months in a year."""
LONGEST = 10 * YEAR
"""Maximum number of months to learn from; older ones say little about next year."""
TREND_AND_SEASON = 2 * YEAR
"""Number of months needed to tell a trend from a season."""
SHORTEST = TREND_AND_SEASON + YEAR
"""Minimum number of months: with a year to test on."""

SHRINKAGE = 0.1
"""Strength of the pull of trend and season towards none: a few hires show neither of them."""

Months = npt.NDArray[np.float64]
"""Number of hires in consecutive months."""


@dataclass(frozen=True)
class History:
    """The number of hires of each department in consecutive months.

    Attributes:
        start: the first month, counted from the year 0.
        coming: the first month after the backup's.
        departments: id and name by key.
        hires: by key; all of the same length.
    """

    start: int
    coming: int
    departments: dict[str, tuple[Any, Any]]
    hires: dict[str, Months]

    @property
    def end(self) -> int:
        """The first month after the history."""
        return self.start + self.length

    @property
    def length(self) -> int:
        """Number of months."""
        return max((len(months) for months in self.hires.values()), default=0)


def read_history(source: Backup) -> History:
    """Hires by department, from the first month with hires to the last one.

    The month of the backup is not over, so it is left out. Months without hires at the end mean
    that the records end there, not that hiring stopped.
    """
    departments = hire_history.departments(source)
    taken_at = source.manifest.taken_at
    taken = int(taken_at[:4]) * YEAR + int(taken_at[5:7]) - 1
    counted = {
        (month, key): number
        for (month, key), number in hire_history.count_hires(source).items()
        if key in departments and month < taken
    }
    if not counted:
        return History(0, taken + 1, departments, {})
    end = max(month for month, _ in counted) + 1
    start = max(min(month for month, _ in counted), end - LONGEST)
    months = {key: np.zeros(end - start) for key in departments}
    for (month, department), number in counted.items():
        if month >= start:
            months[department][month - start] += number
    return History(start, taken + 1, departments, months)


def _as_text(month: int) -> str:
    return f"{month // YEAR:04}-{month % YEAR + 1:02}"


# Two forecasts of the twelve months that follow


def same_month_last_year(months: Months, _start: int) -> Months:
    """The simplest forecast: each month as in the last year."""
    return months[-YEAR:]


def poisson(months: Months, start: int, skipped: int = 0) -> Months:
    """The forecast of a Poisson regression with trend and season.

    A department's history begins with its first hire. The forecast is the mean for a history of
    less than two years, and 0 for a department without hires.

    Args:
        months: the hires of a department.
        start: the first month, counted from the year 0.
        skipped: months between the last one and the first to forecast.
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


METHODS: dict[str, Callable[[Months, int], Months]] = {
    "poisson": poisson,
    "same_month_last_year": same_month_last_year,
}


# The test


def measure(history: History) -> dict[str, Any]:
    """Measures the errors of both forecasts in each past year that has two years before it.

    Returns:
        For each year, and for all of them, the mean absolute error and the root of the mean squared
        error over all months of the departments that hire, in hires.
    """
    years = range(history.length - YEAR, TREND_AND_SEASON - 1, -YEAR)
    misses = {
        name: {
            first: np.concatenate(
                [
                    method(months[:first], history.start) - months[first : first + YEAR]
                    for months in history.hires.values()
                    if months.any()
                ]
            )
            for first in years
        }
        for name, method in METHODS.items()
    }
    overall = {
        name: _errors(np.concatenate(list(by_year.values()))) for name, by_year in misses.items()
    }
    return {
        "years": [
            {
                "first_month": _as_text(history.start + first),
                "last_month": _as_text(history.start + first + YEAR - 1),
                **{name: _errors(by_year[first]) for name, by_year in misses.items()},
            }
            for first in reversed(years)
        ],
        "all": overall,
        "better": min(METHODS, key=lambda name: overall[name]["mean_absolute_error"]),
    }


def _errors(misses: Months) -> dict[str, float]:
    return {
        "mean_absolute_error": round(float(np.abs(misses).mean()), 3),
        "root_mean_squared_error": round(float(np.sqrt((misses**2).mean())), 3),
    }


# The forecast


def forecast(history: History) -> list[dict[str, Any]]:
    """The forecast from the month after the backup on: a row for each department and month."""
    skipped = history.coming - history.end
    return [
        {
            "department_id": identity,
            "department": name,
            "month": _as_text(history.coming + place),
            "hires": round(float(number), 2),
        }
        for key, (identity, name) in history.departments.items()
        for place, number in enumerate(poisson(history.hires[key], history.start, skipped))
    ]


def _page(history: History, coming: list[dict[str, Any]], errors: dict[str, Any]) -> bytes:
    """The page of the forecast."""
    months = {_as_text(history.start + place): place for place in range(history.length)}
    names = labels(dict(history.departments.values()))
    ahead = list(dict.fromkeys(row["month"] for row in coming))
    departments = [
        forecast_page.ForecastDepartment(
            names[identity],
            {month: int(history.hires[key][place]) for month, place in months.items()},
            dict(zip(ahead, (row["hires"] for row in coming[first : first + YEAR]), strict=True)),
        )
        for first, (key, (identity, name)) in zip(
            range(0, len(coming), YEAR), history.departments.items(), strict=True
        )
    ]
    band = errors["all"]["poisson"]["root_mean_squared_error"]
    return forecast_page.render(departments, band, errors["better"] == "poisson").encode()


MEDIA_TYPES = {".json": "application/json", ".html": "text/html; charset=utf-8"}


def _json(content: object) -> bytes:
    """JSON for people and programs, the same bytes for the same content."""
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"


def _store(contents: dict[str, bytes], source: dict[str, Any]) -> None:
    """Stores objects, then the manifest that lists them: without it, the folder is not complete.

    Raises:
        StorageFailed: storing failed; no manifest is left, and as far as possible no object.
    """
    location, deadline = storage_settings().require_storage(), Deadline(command.JOB_SECONDS)
    name = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S.%fZ}"
    folder = OutputFolder(location, f"forecasts/{name}/", None, deadline)
    try:
        objects = [
            folder.put(each, MEDIA_TYPES[each[-5:]], content) for each, content in contents.items()
        ]
        manifest = {"format": 1, "writer": WRITER, **source, "objects": objects}
        backup.store_manifest(folder, manifest)
    except BaseException:
        folder.remove(first=MANIFEST)
        raise
    logs.event("forecast stored", address=folder.address)


def run() -> None:
    """Forecasts from the newest complete backup.

    Raises:
        BadSource: there is no backup, or its history is too short.
        BundleError: the forecast failed; no manifest was stored.
    """
    newest = command.newest_backup()
    history = read_history(newest)
    if history.length < SHORTEST:
        raise BadSource(
            f"nothing was stored: {newest.address} has hires over {history.length} months,"
            f" a forecast needs {SHORTEST}"
        )
    # On matrices this small, threads only wait for each other; a single one sums in a fixed order.
    with threadpoolctl.threadpool_limits(1):
        errors = measure(history)
        coming = forecast(history)
    source = {
        "backup": newest.address,
        "first_month": _as_text(history.start),
        "last_month": _as_text(history.end - 1),
        "method": "poisson",
        "scikit_learn": sklearn.__version__,
    }
    contents = {
        "forecast.json": _json(coming),
        "forecast.html": _page(history, coming, errors),
        "errors.json": _json(errors),
    }
    _store(contents, source)
    beaten = errors["better"] == "poisson"
    logs.event(
        "forecast measured",
        "INFO" if beaten else "WARNING",
        better=errors["better"],
        **errors["all"],
    )


if __name__ == "__main__":
    command.read_no_arguments(__doc__)
    sys.exit(command.run(run))
