"""Verifies the server with DB_SSL_CA: the authorities, the TLS context, the reasons of failures."""

import contextlib
import functools
import ipaddress
import ssl
from pathlib import Path

from hiring.errors import Misconfigured

FAILURES = dict.fromkeys((2, 7, 18, 19, 20, 21), "no certificate of the file has signed it") | {
    9: "it is not valid yet",
    10: "it has expired",
    62: "it is for another name than DB_HOST",
}
"""Reasons by the numbers of https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/."""


def read_authorities(path: str) -> str:
    """The PEM certificates of a file, which may contain other text too.

    Raises:
        Misconfigured: there are none; no path is shown, since callers of a public report read it.
    """
    try:
        authorities = Path(path).read_text("ascii", "ignore")
        verifying_context(authorities, "")
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise Misconfigured(
            "DB_SSL_CA names no file that can be read and has a whole certificate; for example"
            " DB_SSL_CA=/secrets/server-ca.pem"
        ) from error
    return authorities


@functools.cache
def verifying_context(authorities: str, host: str) -> ssl.SSLContext:
    """The context that requires TLS and verifies the server.

    One of the authorities must have signed the server's certificate, itself or through others. The
    certificate must be for a host that is a name; Cloud SQL issues none for an address.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        context.check_hostname = False
    # A shared authority's certificate is itself signed by another, which need not be in the file.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=authorities)
    return context


def failure(error: ssl.SSLError) -> str:
    """The reason of a failure, without a host's name or anything from the certificate."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS with it fails: {error.reason or 'the connection was lost'}"
    # Python's message for 62 contains DB_HOST; all others are OpenSSL's.
    reason = FAILURES.get(error.verify_code, error.verify_message)
    return f"its certificate fails DB_SSL_CA: {reason}"
