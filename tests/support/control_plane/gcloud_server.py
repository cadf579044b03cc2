"""Runs the real gcloud's commands in forks of one process that has loaded gcloud's modules.

Started with gcloud's own Python: `gcloud_server.py SDK_FOLDER SOCKET CLOCK`. A command takes a
tenth of a new gcloud's time and runs the same code. Its waits are written to CLOCK.
"""

import array
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path


def load(sdk: str) -> None:
    sys.path[:0] = [f"{sdk}/lib/third_party", f"{sdk}/lib"]
    import requests  # noqa: F401 - like the others, loaded for the commands
    from googlecloudsdk.api_lib.storage import api_factory, storage_api  # noqa: F401
    from googlecloudsdk.command_lib.iam import iam_util  # noqa: F401
    from googlecloudsdk.command_lib.run import serverless_operations  # noqa: F401
    from googlecloudsdk.core.credentials import store, transports  # noqa: F401


def receive(connection: socket.socket) -> tuple[dict, list[int]]:
    fds = array.array("i")
    received, ancillary, _, _ = connection.recvmsg(1 << 20, socket.CMSG_LEN(3 * fds.itemsize))
    for _, _, content in ancillary:
        fds.frombytes(content)
    while not received.endswith(b"\n"):
        received += connection.recv(1 << 20)
    return json.loads(received), list(fds)


def run(request: dict, fds: list[int], clock: Path) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    really_sleep = time.sleep

    def sleep(seconds: float) -> None:
        if threading.current_thread() is not threading.main_thread():
            return really_sleep(min(seconds, 0.02))  # the thread that draws the progress bar
        with clock.open("a") as file:
            file.write(f"{seconds}\n")
        return None

    time.sleep = sleep
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["gcloud", *request["arguments"]]
    import googlecloudsdk.gcloud_main

    try:
        googlecloudsdk.gcloud_main.main()
        status = 0
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def main() -> None:
    sdk, address, clock = sys.argv[1:]
    load(sdk)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        connection, _ = server.accept()
        request, fds = receive(connection)
        if os.fork() == 0:
            server.close()
            status = 1
            try:
                status = run(request, fds, Path(clock))
            finally:
                connection.sendall(bytes([status]))
                os._exit(0)
        for fd in fds:
            os.close(fd)
        connection.close()


main()
