"""Finds the database server's programs on this machine, and which server they are.

python -m local.programs        prints the server program that the local stack uses
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAMS = ("mysqld", "mariadbd")
# An ordinary user's PATH often lacks the folders where distributions put servers.
PROGRAM_FOLDERS = ("/usr/sbin", "/usr/libexec", "/usr/local/sbin")
INSTALL_TOOL = "mariadb-install-db"


class DatabaseServerError(Exception):
    """The server is missing or failed; the message holds the end of its log or output."""


def find_program() -> str:
    """The path of the server program: MYSQLD, else mysqld, else mariadbd.

    Raises:
        DatabaseServerError: there is none.
    """
    named = os.environ.get("MYSQLD")
    search_path = os.pathsep.join([os.environ.get("PATH", os.defpath), *PROGRAM_FOLDERS])
    for program in [named] if named else PROGRAMS:
        if found := shutil.which(program, path=search_path):
            return str(Path(found).absolute())
    if named:
        raise DatabaseServerError(f"MYSQLD names {named!r}, which is not a program")
    raise DatabaseServerError(
        "no database server found: install mariadb-server-core and mariadb-client-core,"
        " or name a mysqld in MYSQLD"
    )


def find_beside(program: str, tool: str) -> str:
    """The path of a tool: from the server's installation, else from PATH.

    Raises:
        DatabaseServerError: there is none.
    """
    installation = Path(program).resolve().parent.parent
    search_path = [str(installation / folder) for folder in ("bin", "scripts")]
    found = shutil.which(tool, path=os.pathsep.join([*search_path, os.environ.get("PATH", "")]))
    if found is None:
        raise DatabaseServerError(f"{tool} is missing beside {program}")
    return found


def read_version(program: str) -> tuple[str, bool]:
    """The server's version ("9.7") and whether it is MariaDB.

    Raises:
        DatabaseServerError: the program does not run, or does not print its version.
    """
    try:
        done = subprocess.run(
            [program, "--no-defaults", "--version"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise DatabaseServerError(f"{program} does not tell its version: {error}") from error
    version = re.search(r"Ver (\d+\.\d+)", done.stdout)
    if version is None:
        raise DatabaseServerError(f"{program} does not tell its version: {done.stdout!r}")
    return version[1], "MariaDB" in done.stdout


def check_program() -> str:
    """The path of the server program, after a check that its tools are there too.

    Raises:
        DatabaseServerError: a program is missing, or is not a database server.
    """
    program = find_program()
    _, is_mariadb = read_version(program)
    if is_mariadb:
        find_beside(program, INSTALL_TOOL)
        # mariadb-install-db needs it, and Debian has it in another package.
        find_beside(program, "my_print_defaults")
    return program


def main() -> None:
    try:
        print(check_program())
    except DatabaseServerError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
