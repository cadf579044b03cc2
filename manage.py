"""The operator's one command: backs up, lists, checks, prunes, restores, imports and exports.

    python manage.py COMMAND --help

The settings are those of the functions; only `backup`, `restore`, `import` and `drill` need a
database. The exit statuses are those of operate/endings.py.
"""

import argparse
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the imports take half a second

try:
    from hiring.deadline import Deadline
    from hiring.errors import BundleError
    from hiring.progress import is_job, status
    from hiring.settings import Settings, current_settings, storage_settings
    from hiring.tables import TABLES
    from hiring.version import VERSION
    from operate import backups, drill, endings, loading
    from restore.plan import Unfinished
except ModuleNotFoundError as error:
    sys.stderr.write(
        f"manage.py needs a package that is not installed here, {error.name}. In its folder:\n\n"
        "    python3 -m venv .local/venv\n"
        "    .local/venv/bin/pip install --require-hashes -r deploy/requirements.lock\n"
        "    .local/venv/bin/python manage.py ...\n"
    )
    sys.exit(2)

Run = Callable[[Settings, argparse.Namespace, Deadline], int]
"""Does what a command does, and returns its exit status."""

WITHOUT_DATABASE = ("list", "check", "prune", "bigquery")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = _read_arguments(arguments)
    endings.tolerate_any_text()
    try:
        settings: Settings = options.settings()
        done: int = options.run(settings, options, settings.command_deadline())
        return done
    except Unfinished as error:
        with endings.output_may_fail():
            status("load not finished", "ERROR", reason=str(error))
        return endings.UNFINISHED
    except BundleError as error:
        ended, reason = error.exit_status, str(error)
    except KeyboardInterrupt as error:  # by a signal, or not confirmed
        ended, reason = endings.INTERRUPTED, str(error) or "interrupted"
    except Exception:
        if not is_job():
            raise
        status("command failed", "ERROR", stack_trace=traceback.format_exc())
        return BundleError.exit_status
    if options.command in ("restore", "import"):
        status("nothing was loaded", "ERROR", reason=reason)
    else:
        status("command failed", "ERROR", command=options.command, reason=reason)
    return ended


def _read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="manage.py",
        description="Backs up, lists, checks, prunes, restores, imports and exports.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Run, about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, help=about, epilog=EPILOG, formatter_class=parser.formatter_class
        )
        settings = storage_settings if name in WITHOUT_DATABASE else current_settings
        made.set_defaults(run=run, settings=settings)
        return made

    command("backup", backups.run_backup, "take a backup, as the function does")
    listed = command("list", backups.run_list, "show every folder among the backups, newest first")
    listed.add_argument(
        "--long", "--json", action="store_true", help="all that the manifest tells, as JSON"
    )
    checked = command("check", backups.run_check, "compare backups with their manifests")
    which = checked.add_mutually_exclusive_group()
    which.add_argument(
        "address",
        metavar="ADDRESS",
        nargs="?",
        help="of one backup, gs://...; by default the newest complete one with rows of DB_NAME",
    )
    which.add_argument("--all", action="store_true", help="every backup of DB_NAME")
    checked.add_argument(
        "--quick", action="store_true", help="names, sizes and checksums only; read no object"
    )
    pruned = command("prune", backups.run_prune, "remove backups of DB_NAME that no rule keeps")
    for name, metavar, what in (
        ("--keep-last", "N", "so many of the newest stay"),
        ("--keep-days", "D", "those within so many days of the newest stay"),
        ("--keep-weekly", "W", "the newest of each of the last so many weeks stays"),
        ("--keep-monthly", "M", "the newest of each of the last so many months stays"),
    ):
        required = name in ("--keep-last", "--keep-days")
        pruned.add_argument(
            name, metavar=metavar, type=_count, default=0, required=required, help=what
        )
    pruned.add_argument("--yes", action="store_true", help="do not ask")
    pruned.add_argument("--dry-run", action="store_true", help="say what would go, remove nothing")
    restored = command("restore", loading.run_restore, "fill the tables from a backup")
    restored.add_argument(
        "source",
        metavar="SOURCE",
        help="a backup, local or gs://bucket/path; .../backups/ means the newest one in it",
    )
    restored.add_argument(
        "--table", metavar="NAME", choices=TABLES, help=f"only this one: {', '.join(TABLES)}"
    )
    restored.add_argument(
        "--from-database",
        metavar="NAME",
        help="whose newest backup is meant by a folder of backups; DB_NAME's by default",
    )
    imported = command("import", loading.run_import, "fill the tables from CSV files")
    imported.add_argument("source", metavar="SOURCE", help="a folder, local or gs://bucket/path")
    imported.add_argument(
        "--max-invalid",
        metavar="PERCENT",
        type=_percent,
        default="10%",
        help="load nothing if more of the rows of one file are invalid; by default 10%%",
    )
    for loads in (restored, imported):
        loads.add_argument(
            "--replace", action="store_true", help="replace the rows; a terminal is asked first"
        )
        loads.add_argument("--yes", action="store_true", help="do not ask")
        loads.add_argument(
            "--dry-run", action="store_true", help="check everything, change nothing"
        )
    drilled = command("drill", drill.run, "restore a backup into a scratch database on trial")
    drilled.add_argument(
        "address",
        metavar="ADDRESS",
        nargs="?",
        help="of a backup; by default the newest one with rows of DB_NAME",
    )
    exported = command("bigquery", backups.run_bigquery, "print the bq lines that load a backup")
    exported.add_argument("address", metavar="ADDRESS", help="of one backup, gs://...")
    exported.add_argument("--dataset", required=True, help="of BigQuery, also as project:dataset")
    return parser.parse_args(arguments)


EPILOG = f"""\
settings, in the environment:
  GCS_PATH                     bucket, or bucket/prefix, of the backups; all but restore and import
  DB_NAME                      whose backups; hiring by default; every command
  DB_PASS, DB_USER, and INSTANCE_CONNECTION_NAME, DB_SOCKET, or DB_HOST, DB_PORT, DB_SSL_CA
                               the database; for all but list, check, prune and bigquery
  KEEP_BACKUPS_DAYS, KEEP_BACKUPS_WEEKS, KEEP_BACKUPS_MONTHS
                               what backup prunes, and why list keeps
  TASK_TIMEOUT_SECONDS         the time limit; every command stops itself 30 s before it

exit statuses:
{textwrap.indent(endings.MEANINGS, "  ")}
more: README.md#settings, docs/backups.md, docs/operate.md#backups-list-check-prune"""


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 6:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 99999")


def _percent(text: str) -> int:
    number = text.removesuffix("%")
    if text != number and number.isascii() and number.isdigit() and int(number) <= 100:
        return int(number)
    raise argparse.ArgumentTypeError(f"{text!r} is not a percentage from 0% to 100%")


if __name__ == "__main__":
    endings.interrupt_on_every_signal()
    sys.exit(main())
