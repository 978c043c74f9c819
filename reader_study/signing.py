"""Signatures on score sheets: ECDSA on P-256 with SHA-256, the form that every browser makes offline.

Each package (one reader, one session) has its own key pair. The private half lies in the package, because the
browser must sign without a network; the public half stands in the study's log, so whoever checks a sheet cannot
make one.

What this shows: the sheet was made with this package and no value changed since. It detects a typo in a spreadsheet,
a damaged or exchanged file, a sheet from another study, and editing by anyone without the package. It does not
show that no other person sat at the reader's desk, nor hinder somebody who has the package and the skill from signing
other scores: hand packages out
personally and log each sheet when it comes in (``recon reader-study check STUDY --sheets``): a second version is then
refused, whoever signed it.
"""

import base64
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def new_signing_key() -> tuple[dict[str, Any], str]:
    """A fresh key pair: the private key as a JSON web key for the package, the public key as hexadecimal digits."""
    private = ec.generate_private_key(ec.SECP256R1())
    numbers = private.private_numbers()
    x, y = numbers.public_numbers.x, numbers.public_numbers.y
    jwk = {"kty": "EC", "crv": "P-256", "x": _base64url(x), "y": _base64url(y), "d": _base64url(numbers.private_value)}
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return jwk, point.hex()


def sign(jwk: dict[str, Any], message: bytes) -> str:
    """Signature of ``message`` as 128 hexadecimal digits (r, then s), as WebCrypto makes it."""
    value = int.from_bytes(base64.urlsafe_b64decode(jwk["d"] + "=="), "big")
    der = ec.derive_private_key(value, ec.SECP256R1()).sign(message, ec.ECDSA(SHA256()))
    r, s = decode_dss_signature(der)
    return (r.to_bytes(32, "big") + s.to_bytes(32, "big")).hex()


def verify(public_key: str, message: bytes, signature: str) -> bool:
    """Does ``signature`` (hexadecimal) belong to ``message`` and ``public_key``?"""
    try:
        raw = bytes.fromhex(signature)
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes.fromhex(public_key))
        der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        point.verify(der, message, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return len(raw) == 64


def _base64url(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes(32, "big")).rstrip(b"=").decode()
