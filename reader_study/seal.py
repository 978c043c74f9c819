"""The sealed key: what tells which arm is which, locked with a passphrase until the scores are in.

``key.sealed`` is one JSON object: format, study (protocol hash), key derivation (scrypt: n, r, p, salt), nonce and
ciphertext (base64). The key mapping is encrypted with AES-256-GCM; everything else in the file is authenticated
with it. The commitment that stands in every package and in the log is HMAC-SHA256 of the key mapping under a
random 256-bit salt that itself lies inside the sealed key: without the passphrase it cannot be tested against
guessed allocations, and afterwards nobody can exchange the key for another one.

What this protects against: a reader or an analyst who looks at the key file, a changed or exchanged key, a lost
key file that is replaced. It does not protect against a person who knows the passphrase: let somebody who neither
reads nor analyses hold it.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from reader_study.allocation import Presentation
from reader_study.canonical import canonical_json
from recon.atomic import atomic_path
from recon.configuration import from_mapping
from recon.errors import ReconError
from recon.foreign.json_file import json_object_in

FORMAT = "recon-sealed-key-1"
WORK_FACTOR = 2**17  # scrypt n: about half a second and 128 MiB for every guess of the passphrase
SHORTEST_PASSPHRASE = 12
FEWEST_DIFFERENT = 5  # characters: twelve times one letter is no passphrase


@dataclass(frozen=True)
class ImageRecord:
    """One exported image series: where it came from and under which random names it went out."""

    id: str  # folder name of the DICOM series, 16 hexadecimal digits
    case: str
    arm: str
    copy: int  # 1, or 2 for the second copy of a repeated case
    source: str  # the file or folder it was read from, below the folder that all lie in
    patient_id: str
    study_uid: str
    series_uid: str
    source_sha256: str = ""  # of the file, or of the names and hashes of a folder's; older keys do not say
    sequence: str = ""  # of a case of several series, which share patient and study
    # Where lesions are marked: three rows of the matrix from (slice, row, column, 1) as shown to RAS+ mm.
    affine: tuple[float, ...] = ()

    def as_mapping(self) -> dict[str, Any]:
        """Plain JSON types."""
        values = asdict(self)
        for name in ("source_sha256", "sequence", "affine"):
            if not values[name]:
                del values[name]
        return values


@dataclass(frozen=True)
class Key:
    """The allocation and the names of all images. Exists in memory during export and after unsealing only."""

    study: str  # protocol hash
    seed: str
    salt: str  # of the commitment, 64 hexadecimal digits
    presentations: tuple[Presentation, ...]
    images: tuple[ImageRecord, ...] = ()

    def __post_init__(self) -> None:
        for name in ("seed", "salt"):
            if not re.fullmatch(r"[0-9a-f]{64}", getattr(self, name)):
                raise ValueError(f"key '{name}' must be 64 hexadecimal digits")

    def as_mapping(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "study": self.study,
            "seed": self.seed,
            "salt": self.salt,
            "presentations": [row.as_mapping() for row in self.presentations],
            "images": [image.as_mapping() for image in self.images],
        }

    @property
    def commitment(self) -> str:
        """HMAC-SHA256 of the canonical key mapping under the salt, 64 hexadecimal digits."""
        return hmac.new(bytes.fromhex(self.salt), canonical_json(self.as_mapping()), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class _Derivation:
    """How the passphrase becomes the secret."""

    name: str
    n: int
    r: int
    p: int
    salt: str  # base64, as ``nonce`` and ``ciphertext``


@dataclass(frozen=True)
class _Sealed:
    """What the file holds."""

    format: str
    study: str
    cipher: str
    kdf: _Derivation
    nonce: str
    ciphertext: str


def key_in(content: bytes) -> Key:
    """The key of which ``content`` is the JSON form. Raises ValueError saying what is missing or wrong in it."""
    try:
        return from_mapping(Key, json_object_in(content.decode("utf-8")), "the key")
    except ReconError as error:
        raise ValueError(str(error)) from error


def check_passphrase(passphrase: str) -> None:
    """Raises ReconError when a new passphrase is too short to withstand guessing."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise ReconError(f"the passphrase needs at least {SHORTEST_PASSPHRASE} characters; four random words do well")
    if len(set(passphrase)) < FEWEST_DIFFERENT:
        raise ReconError(f"the passphrase needs {FEWEST_DIFFERENT} different characters; four random words do well")


def seal_key(path: str | Path, key: Key, passphrase: str, work_factor: int = WORK_FACTOR) -> str:
    """Encrypt ``key`` into the file ``path``; gives the file's SHA-256.

    Raises ReconError for a short passphrase or when the file cannot be written.
    """
    check_passphrase(passphrase)
    salt = secrets.token_bytes(16)
    nonce = secrets.token_bytes(12)
    header = {
        "format": FORMAT,
        "study": key.study,
        "cipher": "AES-256-GCM",
        "kdf": {"name": "scrypt", "n": work_factor, "r": 8, "p": 1, "salt": base64.b64encode(salt).decode()},
        "nonce": base64.b64encode(nonce).decode(),
    }
    plain = canonical_json(key.as_mapping())
    secret = Scrypt(salt=salt, length=32, n=work_factor, r=8, p=1).derive(passphrase.encode())
    ciphertext = AESGCM(secret).encrypt(nonce, plain, canonical_json(header))
    content = canonical_json({**header, "ciphertext": base64.b64encode(ciphertext).decode()}) + b"\n"
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def open_key(path: str | Path, passphrase: str, sha256: str, commitment: str) -> Key:
    """Decrypt and check a sealed key. ``sha256`` and ``commitment`` come from the log's export line.

    Raises ReconError saying which it is: file missing or altered, wrong passphrase, or a key that is not the one
    committed to.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReconError(f"{path}: the sealed key cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ReconError(f"{path}: the sealed key was altered since the export; restore it from a copy")
    try:
        header = json_object_in(content.decode("utf-8"))
        sealed = from_mapping(_Sealed, header, "its head")
        del header["ciphertext"]
        kdf = sealed.kdf
        # Bounds keep a foreign file from asking for all of the memory or for no work at all.
        if sealed.format != FORMAT or not 2**4 <= kdf.n <= 2**21 or (kdf.r, kdf.p) != (8, 1):
            raise ValueError("unknown format")
        parts = (kdf.salt, sealed.nonce, sealed.ciphertext)
        salt, nonce, ciphertext = (base64.b64decode(text, validate=True) for text in parts)
        secret = Scrypt(salt=salt, length=32, n=kdf.n, r=8, p=1).derive(passphrase.encode())
        key = key_in(AESGCM(secret).decrypt(nonce, ciphertext, canonical_json(header)))
    except InvalidTag as error:
        raise ReconError(f"{path}: wrong passphrase") from error
    except (ValueError, ReconError) as error:
        raise ReconError(f"{path}: not a sealed key of recon ({error}); restore it from a copy") from error
    if not hmac.compare_digest(key.commitment, commitment):
        raise ReconError(f"{path}: this key is not the one committed to in the packages and the log")
    return key
