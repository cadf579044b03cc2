"""Makes certificates for a database server, with authorities, names and dates."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """An authority that signs certificates.

    Args:
        file: where its own certificate goes, PEM; an attribute.
        root: the authority that signs that one; it is its own root if not given.
    """

    def __init__(self, file: Path, root: "Authority | None" = None) -> None:
        self.file = file
        self._key = ec.generate_private_key(ec.SECP256R1())
        # All without a root have the same name, like Cloud SQL's.
        self._name = _name("Regional CA" if root else "Server CA")
        signer = root or self
        builder = _builder(self._name, signer._name, self._key, is_authority=True)
        certificate = builder.sign(signer._key, hashes.SHA256())
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def sign(self, folder: Path, name: str | None = None, seconds: int = 86400) -> None:
        """Writes cert.pem and key.pem of a server.

        Args:
            folder: to write to.
            name: that the certificate is for; without it, the certificate is for no name, like that
                of a Cloud SQL instance that is its own authority.
            seconds: until it expires.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name("my-project:my-instance"), self._name, key, seconds)
        if name:
            names = x509.SubjectAlternativeName([x509.DNSName(name)])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    seconds: int = 86400,
    *,
    is_authority: bool = False,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(seconds=seconds))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    )
