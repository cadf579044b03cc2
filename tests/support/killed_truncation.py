"""Empties the tables with the settings in the environment, and dies when the first one is empty."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import truncation
from hiring import logs
from hiring.settings import current_settings

event = logs.event


def log_and_die(message: str, *arguments: object, **fields: object) -> None:
    """Kills this process at its first `table emptied`."""
    event(message, *arguments, **fields)  # type: ignore[arg-type]
    if message == "table emptied":
        os.kill(os.getpid(), signal.SIGKILL)


vars(logs)["event"] = log_and_die
settings = current_settings()
truncation.truncate(settings, settings.deadline(), dry_run=False)
