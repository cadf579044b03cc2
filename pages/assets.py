"""The page's style and script, and the policy that allows nothing else."""

import base64
import functools
import hashlib
from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"


@functools.cache
def asset(name: str) -> str:
    """The text of a file of the templates."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


@functools.cache
def content_security_policy() -> str:
    """A policy that allows the page's own style and script by their hashes, and nothing else.

    Hashes are the same in each answer; nonces would change the page's ETag:
    https://www.w3.org/TR/CSP3/#grammardef-hash-source
    """
    style, script = (_hash(asset(name)) for name in ("report.css", "report.js"))
    return (
        f"default-src 'none'; style-src {style}; script-src {script}; img-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
