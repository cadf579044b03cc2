"""Lists, checks, prunes and exports backups. An operator's command that needs no database.

    python backups.py list [--json]
    python backups.py check [ADDRESS | --all] [--quick]
    python backups.py prune --keep-last N --keep-days D [--dry-run]
    python backups.py bigquery ADDRESS --dataset DATASET

It reads GCS_PATH, and DB_NAME for whose backups are meant: `list` shows all of them, the others act
on that database's. The exit statuses are those of loading/exit_statuses.py.
"""

import argparse
import sys

from hiring.core.errors import BundleError
from hiring.core.settings import storage_settings
from hiring.core.version import VERSION
from loading import bigquery, checking, exit_statuses, listing, pruning
from loading.progress import status


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = _read_arguments(arguments)
    try:
        done: int = options.run(storage_settings(), options)
    except BundleError as error:
        status("command failed", "ERROR", command=options.command, reason=str(error))
        return exit_statuses.exit_status(error)
    except KeyboardInterrupt:
        status("command failed", "ERROR", command=options.command, reason="interrupted")
        return exit_statuses.INTERRUPTED
    return done


def _read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="backups.py", description="Lists, checks, prunes and exports backups."
    )
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listed = commands.add_parser("list", help="show every folder among the backups, newest first")
    listed.add_argument("--json", action="store_true", help="for programs")
    listed.set_defaults(run=listing.run)
    checked = commands.add_parser("check", help="compare backups with their manifests")
    which = checked.add_mutually_exclusive_group()
    which.add_argument(
        "address",
        metavar="ADDRESS",
        nargs="?",
        help="of one backup, gs://...; by default the newest complete one of DB_NAME",
    )
    which.add_argument("--all", action="store_true", help="every backup of DB_NAME")
    checked.add_argument(
        "--quick", action="store_true", help="names, sizes and checksums only; read no object"
    )
    checked.set_defaults(run=checking.run)
    pruned = commands.add_parser("prune", help="remove backups of DB_NAME that neither rule keeps")
    for name, metavar, what in (
        ("--keep-last", "N", "so many of the newest stay"),
        ("--keep-days", "D", "those within so many days of the newest stay"),
    ):
        pruned.add_argument(name, metavar=metavar, type=_count, required=True, help=what)
    pruned.add_argument("--dry-run", action="store_true", help="say what would go, remove nothing")
    pruned.set_defaults(run=pruning.run)
    exported = commands.add_parser("bigquery", help="print the bq lines that load a backup")
    exported.add_argument("address", metavar="ADDRESS", help="of one backup, gs://...")
    exported.add_argument("--dataset", required=True, help="of BigQuery, also as project:dataset")
    exported.set_defaults(run=bigquery.run)
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 6:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 99999")


if __name__ == "__main__":
    sys.exit(main())
