"""Signed request headers, for REST and for opening the socket.

The text that is signed is ``<timestamp ms><METHOD><path>``: the path from the root of the host, without query
or fragment; the body is not signed. RSA keys sign RSA-PSS (SHA-256, MGF1-SHA-256, salt as long as the
digest), Ed25519 keys sign the text itself. The timestamp ages: sign anew for every attempt.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from overround.errors import ConfigError

__all__ = ["Signer"]

_HINT = "the file must hold the PEM text of a private key: RSA (PKCS#1 or PKCS#8) or Ed25519 (PKCS#8), not encrypted"


class Signer:
    """Signs requests with one API key; made by ``from_pem`` or ``from_file``.

    Parameters
    ----------
    key_id : str
        The key's id (a UUID), sent in clear.
    sign : callable
        Signs bytes with the private key.
    """

    def __init__(self, key_id: str, sign: Callable[[bytes], bytes]) -> None:
        self.key_id = key_id
        self._sign = sign

    def __repr__(self) -> str:
        return f"Signer(key_id={self.key_id!r})"

    @classmethod
    def from_pem(cls, key_id: str, pem: bytes, *, named: str = "the private key") -> Signer:
        """A signer from the text of a private key.

        Parameters
        ----------
        key_id : str
            The key's id.
        pem : bytes
            PEM text; RSA (PKCS#1 or PKCS#8) or Ed25519.
        named : str
            What an error calls the key (its path); the key itself is never shown.

        Raises
        ------
        ConfigError
            If the id is empty, or the text holds no such key.
        """
        # Loaded here: collecting without a key never pays for it.
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

        if not key_id:
            raise ConfigError(f"{named} has no key id", hint="set venues.kalshi.api_key to the id shown beside the key")
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            what = _first_line(pem)
            raise ConfigError(f"{named} is no readable private key (it begins {what!r})", hint=_HINT) from exc
        if isinstance(key, rsa.RSAPrivateKey):
            rsa_key, digest = key, hashes.SHA256()
            pss = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
            return cls(key_id, lambda text: rsa_key.sign(text, pss, digest))
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return cls(key_id, key.sign)
        raise ConfigError(f"{named} is a {type(key).__name__}, which the venue does not take", hint=_HINT)

    @classmethod
    def from_file(cls, key_id: str, path: Path) -> Signer:
        """A signer from a key file.

        Raises
        ------
        ConfigError
            If the file cannot be read or holds no key; the error names it.
        """
        try:
            pem = path.read_bytes()
        except OSError as exc:
            raise ConfigError(
                f"the key file {path} cannot be read: {exc.strerror or exc}",
                hint="check venues.kalshi.private_key_path",
            ) from exc
        return cls.from_pem(key_id, pem, named=f"the key file {path}")

    def headers(self, method: str, path: str, *, now_ms: int) -> dict[str, str]:
        """Headers that sign one request.

        Parameters
        ----------
        method : str
            HTTP method; the socket is opened by ``GET``.
        path : str
            Path from the root of the host (``/trade-api/v2/...``), or a whole address; query and fragment are
            cut off.
        now_ms : int
            Time of this attempt.
        """
        text = f"{now_ms}{method.upper()}{urlsplit(path).path}"
        return {
            "KALSHI-ACCESS-KEY": self.key_id,
            "KALSHI-ACCESS-TIMESTAMP": str(now_ms),
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(self._sign(text.encode())).decode("ascii"),
        }


def _first_line(pem: bytes) -> str:
    """The PEM label if there is one, so that a public key in the wrong place is recognised; never key material."""
    line = pem.lstrip()[:64].splitlines()[:1]
    text = line[0].decode("ascii", "replace") if line else ""
    return text if text.startswith("-----BEGIN ") else "with no PEM header"
