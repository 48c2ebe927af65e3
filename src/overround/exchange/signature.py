"""Kalshi's request signatures, checked; and throw-away keys for mock mode."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Literal, NamedTuple
from uuid import uuid4

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from overround.errors import ConfigError

__all__ = ["SignatureCheck", "SigningKey", "test_signing_key"]


class SigningKey(NamedTuple):
    """A key pair for the local exchange only.

    Attributes
    ----------
    key_id : str
    private_pem, public_pem : bytes
        PKCS#8 and SubjectPublicKeyInfo.
    """

    key_id: str
    private_pem: bytes
    public_pem: bytes


def test_signing_key(kind: Literal["ed25519", "rsa"] = "ed25519") -> SigningKey:  # noqa: PT028 - it is no test
    """Make a throw-away key pair; it is never written anywhere."""
    private: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    if kind == "rsa":
        private = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    else:
        private = ed25519.Ed25519PrivateKey.generate()
    return SigningKey(
        key_id=str(uuid4()),
        private_pem=private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        public_pem=private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    )


# pytest would collect a function of this name wherever a test module imports it.
test_signing_key.__test__ = False  # type: ignore[attr-defined]


class SignatureCheck:
    """Checks the three headers of a signed request.

    Parameters
    ----------
    public_pem : bytes
        RSA or Ed25519 public key.
    key_id : str or None
        Only this key id is accepted; any when None.
    skew_ms : int
        Tolerated age or lead of the timestamp.

    Raises
    ------
    ConfigError
        If the PEM text holds no RSA or Ed25519 public key.
    """

    def __init__(self, public_pem: bytes, *, key_id: str | None, skew_ms: int) -> None:
        try:
            key = serialization.load_pem_public_key(public_pem)
        except ValueError as exc:
            raise ConfigError(
                "the exchange's public key is no PEM text", hint="give a public key, not a private one"
            ) from exc
        if not isinstance(key, rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
            raise ConfigError(f"{type(key).__name__} cannot check signatures here", hint="use RSA or Ed25519")
        self._key = key
        self._key_id = key_id
        self._skew_ms = skew_ms

    def refusal(self, headers: Mapping[str, str], method: str, path: str, now_ms: int) -> str | None:
        """Why the request is not authorised, or None when it is; the query is not part of what is signed."""
        key_id = headers.get("KALSHI-ACCESS-KEY")
        stamp = headers.get("KALSHI-ACCESS-TIMESTAMP")
        signature = headers.get("KALSHI-ACCESS-SIGNATURE")
        if not key_id or not stamp or not signature:
            return "missing_auth"
        if self._key_id is not None and key_id != self._key_id:
            return "unknown_key"
        if not stamp.isdigit() or abs(int(stamp) - now_ms) > self._skew_ms:
            return "timestamp_out_of_range"
        text = f"{stamp}{method}{path.partition('?')[0]}".encode()
        try:
            raw = base64.b64decode(signature, validate=True)
            if isinstance(self._key, rsa.RSAPublicKey):
                self._key.verify(
                    raw,
                    text,
                    padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size),
                    hashes.SHA256(),
                )
            else:
                self._key.verify(raw, text)
        except (InvalidSignature, binascii.Error, ValueError):
            return "bad_signature"
        return None
