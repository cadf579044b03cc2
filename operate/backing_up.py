"""`manage.py backup` takes a backup as the function does, however long it takes."""

import argparse

import backup
from hiring.deadline import Deadline
from hiring.progress import answer_json
from hiring.settings import Settings
from hiring.storage.catalog import LONGEST_BACKUP

STOP_EARLY_SECONDS = 3600
"""So long before its folder could be pruned, and before Cloud Run ends its job, it stops itself."""


def run(settings: Settings, options: argparse.Namespace) -> int:  # noqa: ARG001 - of every command
    """Takes the backup, prunes as the settings say, and prints what the function would answer."""
    deadline = Deadline(LONGEST_BACKUP.total_seconds() - STOP_EARLY_SECONDS)
    answer_json(backup.take(settings, deadline))
    return 0
