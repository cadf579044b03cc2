"""Finds the database server's programs on this machine, and which server they are.

python -m local.programs        prints the server program that the local stack uses
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from local.process import StackError

PROGRAMS = ("mysqld", "mariadbd")
# An ordinary user's PATH often lacks the folders where distributions put servers.
PROGRAM_FOLDERS = ("/usr/sbin", "/usr/libexec", "/usr/local/sbin")
INSTALL_TOOL = "mariadb-install-db"


def find_program() -> str:
    """The path of the server program: MYSQLD, else mysqld, else mariadbd.

    Raises:
        StackError: there is none.
    """
    named = os.environ.get("MYSQLD")
    search_path = os.pathsep.join([os.environ.get("PATH", os.defpath), *PROGRAM_FOLDERS])
    for program in [named] if named else PROGRAMS:
        if found := shutil.which(program, path=search_path):
            return str(Path(found).absolute())
    if named:
        raise StackError(f"MYSQLD names {named!r}, which is not a program")
    raise StackError(
        "no database server found: install mariadb-server-core and mariadb-client-core,"
        " or name a mysqld in MYSQLD"
    )


def find_beside(program: str, tool: str) -> str:
    """The path of a tool: from the server's installation, else from PATH.

    Raises:
        StackError: there is none.
    """
    installation = Path(program).resolve().parent.parent
    search_path = [str(installation / folder) for folder in ("bin", "scripts")]
    found = shutil.which(tool, path=os.pathsep.join([*search_path, os.environ.get("PATH", "")]))
    if found is None:
        raise StackError(f"{tool} is missing beside {program}")
    return found


def read_version(program: str) -> tuple[str, bool]:
    """The server's version ("9.7") and whether it is MariaDB.

    Raises:
        StackError: the program does not print its version.
    """
    command = [program, "--no-defaults", "--version"]
    printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    version = re.search(r"Ver (\d+\.\d+)", printed)
    if version is None:
        raise StackError(f"{program} does not tell its version: {printed!r}")
    return version[1], "MariaDB" in printed


def main() -> None:
    """Prints the path of the server program, if its tools are there too."""
    try:
        program = find_program()
        if read_version(program)[1]:
            # The first needs the second, which Debian has in another package.
            find_beside(program, INSTALL_TOOL)
            find_beside(program, "my_print_defaults")
    except StackError as error:
        sys.exit(f"error: {error}")
    print(program)


if __name__ == "__main__":
    main()
