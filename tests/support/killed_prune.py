"""Prunes in a child that dies after N requests: a line of input is an N, one of output its status.

The N-th request is carried out and answered before the child kills itself.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import requests

import manage

send = requests.Session.request
lock = threading.Lock()


def prune(left: int) -> int:
    """Removes all but the newest backup, unless the process dies after so many requests."""

    def send_and_die(
        session: requests.Session, method: str, *arguments: Any, **options: Any
    ) -> Any:
        nonlocal left
        answer = send(session, method, *arguments, **options)
        with lock:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return answer

    vars(requests)["Session"].request = send_and_die
    return manage.main(["prune", "--keep-last", "1", "--keep-days", "0"])


for line in sys.stdin:
    child = os.fork()
    if not child:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        os._exit(prune(int(line)))
    sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
    sys.stdout.flush()
