"""`manage.py prune` removes the backups that neither rule keeps, and prints why others stay."""

import argparse
import datetime

from hiring.deadline import Deadline
from hiring.progress import Progress, answer, status
from hiring.settings import Settings
from hiring.storage import catalog, retention
from operate import exit_statuses
from restore.choice import LIST_SECONDS, all_backups

PRUNE_SECONDS = 24 * 3600


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Prunes, prints what stays and what goes, and returns the exit status.

    Raises:
        StorageFailed: the backups cannot be listed; nothing was removed.
    """
    location = all_backups(settings)
    decisions = retention.decide(
        catalog.read(location, Deadline(LIST_SECONDS)),
        settings.database,
        keep_last=options.keep_last,
        keep_days=options.keep_days,
        now=datetime.datetime.now(datetime.UTC),
    )
    for each in decisions:
        answer(f"{'stays' if each.stays else 'goes':<6} {each.folder.address} {each.why}")
    if options.dry_run:
        return 0
    going = [each.folder for each in decisions if not each.stays]
    with Progress("removing", len(going), "folders") as progress:
        removals = retention.remove(location, going, Deadline(PRUNE_SECONDS), progress)
    left = [
        (each.folder.address + name, why) for each in removals for name, why in each.left.items()
    ]
    for address, why in left:
        status("not removed", "ERROR", object=address, reason=why)
    answer(f"{sum(not each.left for each in removals)} of {len(going)} folders removed")
    return exit_statuses.UNFINISHED if left else 0
