"""`manage.py backup` takes a backup as the function does, however long it takes."""

import argparse
import json

import backup
from hiring.deadline import Deadline
from hiring.progress import answer
from hiring.settings import Settings

BACKUP_SECONDS = 24 * 3600


def run(settings: Settings, options: argparse.Namespace) -> int:  # noqa: ARG001 - of every command
    """Takes the backup, prunes as the settings say, and prints what the function would answer.

    Raises:
        BundleError: the backup failed; no manifest is left, and as far as possible no object.
    """
    answer(json.dumps(backup.take(settings, Deadline(BACKUP_SECONDS))))
    return 0
