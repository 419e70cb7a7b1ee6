"""Certificates for localhost, made on the spot, valid whenever a test wants."""

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from loop.values import utc_now

LOCALHOST = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
DAY = timedelta(days=1)


def write_certificate(folder, days=30):
    """A chain and its key in a folder, over those of before; negative days: it has ended."""
    key = ec.generate_private_key(ec.SECP256R1())
    chain = _signed(key, utc_now() + days * DAY).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(secret)
    return folder / "chain.pem", folder / "key.pem"


def _signed(key, ends):
    return (
        x509.CertificateBuilder()
        .subject_name(LOCALHOST)
        .issuer_name(LOCALHOST)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - 60 * DAY)
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
