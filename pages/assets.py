"""The page's style, and the policy that allows nothing else."""

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
    """A policy that allows the page's own style by its hash and its own form, and nothing else.

    No script runs. A hash is the same in each answer; a nonce would change the page's ETag:
    https://www.w3.org/TR/CSP3/#grammardef-hash-source
    """
    return (
        f"default-src 'none'; style-src {_hash(asset('report.css'))}; img-src data:;"
        " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
