"""Removes older backups and dies after N requests that remove something: `killed_prune.py N`.

The N-th request is carried out and answered before the process kills itself.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import requests

import backups

left = int(sys.argv[1])
send = requests.Session.request


def send_and_die(session: requests.Session, method: str, *arguments: Any, **options: Any) -> Any:
    """Sends a request; kills this process after the last DELETE that it may send."""
    global left
    answer = send(session, method, *arguments, **options)
    if method == "DELETE":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return answer


vars(requests)["Session"].request = send_and_die
sys.exit(backups.main(["prune", "--keep-last", "1", "--keep-days", "0"]))
