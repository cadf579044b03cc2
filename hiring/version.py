"""The bundle's version: in manifests, in log lines, and what commands answer to `--version`.

Its meaning for stored files is in docs/backups.md, its history in docs/CHANGELOG.md.
"""

VERSION = "2.0.0"
WRITER = f"hiring {VERSION}"
