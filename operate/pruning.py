"""`manage.py prune` removes the backups that no rule keeps, and prints why others stay."""

import argparse

from hiring.deadline import Deadline
from hiring.progress import Progress, answer, status
from hiring.settings import Settings
from hiring.storage import catalog, folders, retention
from hiring.terminal import confirm, counted
from operate import endings


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Prunes, prints what stays and what goes, and returns the exit status."""
    place, found = catalog.read_all(settings, Deadline(folders.COMMAND_SECONDS))
    rules = retention.Rules(
        options.keep_last, options.keep_days, options.keep_weekly, options.keep_monthly
    )
    decisions = retention.decide(found, settings.database, rules)
    answer(*(f"{'stays' if x.stays else 'goes':<6} {x.folder.address} {x.why}" for x in decisions))
    going = [each.folder for each in decisions if not each.stays]
    if options.dry_run:
        return 0
    if going and not options.yes:
        confirm(f"Remove {counted(len(going), 'folder')} of {place.address}?")
    objects = sum(len(each.own_files) for each in going)
    with Progress("removing", objects, "object") as progress:
        gone, left = retention.remove(place, going, progress)
    for address, why in left.items():
        status("not removed", "ERROR", object=address, reason=why)
    answer(f"{len(gone)} of {counted(len(going), 'folder')} removed")
    return endings.UNFINISHED if left else 0
