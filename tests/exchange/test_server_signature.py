"""Kalshi's signed upgrade: who is let in."""

from __future__ import annotations

import base64
from typing import Literal

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from overround.errors import ConfigError
from overround.exchange.signature import SignatureCheck, SigningKey, test_signing_key

NOW = 1_790_000_000_000
PATH = "/trade-api/ws/v2"


def _headers(key: SigningKey, text: str, *, stamp: int = NOW, salt: int = 32) -> dict[str, str]:
    private = serialization.load_pem_private_key(key.private_pem, None)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        raw = private.sign(text.encode())
    else:
        assert isinstance(private, rsa.RSAPrivateKey)
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt)
        raw = private.sign(text.encode(), pss, hashes.SHA256())
    return {
        "KALSHI-ACCESS-KEY": key.key_id,
        "KALSHI-ACCESS-TIMESTAMP": str(stamp),
        "KALSHI-ACCESS-SIGNATURE": base64.b64encode(raw).decode(),
    }


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_right_signature_is_let_in_and_a_wrong_one_is_not(kind: Literal["ed25519", "rsa"]) -> None:
    key, other = test_signing_key(kind), test_signing_key(kind)
    check = SignatureCheck(key.public_pem, key_id=key.key_id, skew_ms=5_000)
    right = f"{NOW}GET{PATH}"
    assert check.refusal(_headers(key, right), "GET", PATH, NOW) is None
    assert check.refusal(_headers(key, right), "GET", f"{PATH}?a=b", NOW) is None, "the query is not signed"
    assert check.refusal(_headers(key, f"{NOW}POST{PATH}"), "GET", PATH, NOW) == "bad_signature"
    forged = {**_headers(other, right), "KALSHI-ACCESS-KEY": key.key_id}
    assert check.refusal(forged, "GET", PATH, NOW) == "bad_signature"
    assert check.refusal(_headers(other, right), "GET", PATH, NOW) == "unknown_key"
    assert check.refusal({}, "GET", PATH, NOW) == "missing_auth"
    garbled = {**_headers(key, right), "KALSHI-ACCESS-SIGNATURE": "***"}
    assert check.refusal(garbled, "GET", PATH, NOW) == "bad_signature"


def test_the_salt_must_be_as_long_as_the_digest() -> None:
    key = test_signing_key("rsa")
    check = SignatureCheck(key.public_pem, key_id=None, skew_ms=5_000)
    assert check.refusal(_headers(key, f"{NOW}GET{PATH}", salt=20), "GET", PATH, NOW) == "bad_signature"


def test_an_old_timestamp_is_refused() -> None:
    key = test_signing_key()
    check = SignatureCheck(key.public_pem, key_id=None, skew_ms=5_000)
    headers = _headers(key, f"{NOW}GET{PATH}")
    assert check.refusal(headers, "GET", PATH, NOW + 5_000) is None
    assert check.refusal(headers, "GET", PATH, NOW + 5_001) == "timestamp_out_of_range"


def test_a_private_key_as_public_key_is_a_named_error() -> None:
    with pytest.raises(ConfigError, match="public key"):
        SignatureCheck(test_signing_key().private_pem, key_id=None, skew_ms=1)
