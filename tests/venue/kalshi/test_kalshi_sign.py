"""Signatures, checked with the public key as the venue would."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from overround.errors import ConfigError
from overround.venue.kalshi import Signer

KEY_ID = "a952bcbe-ec3b-4b5b-b8f9-11dae589608c"
NOW_MS = 1_703_123_456_789


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, form: PrivateFormat) -> bytes:
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def check_pss(key: rsa.RSAPrivateKey, headers: dict[str, str], text: bytes) -> None:
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    key.public_key().verify(base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"]), text, pss, hashes.SHA256())


@pytest.mark.parametrize(
    ("form", "label"),
    [(PrivateFormat.TraditionalOpenSSL, b"BEGIN RSA PRIVATE KEY"), (PrivateFormat.PKCS8, b"BEGIN PRIVATE KEY")],
)
def test_rsa_keys_of_both_forms_sign_pss_with_a_32_byte_salt(
    rsa_key: rsa.RSAPrivateKey, form: PrivateFormat, label: bytes
) -> None:
    text = pem(rsa_key, form)
    assert label in text
    headers = Signer.from_pem(KEY_ID, text).headers("get", "/trade-api/v2/portfolio/balance", now_ms=NOW_MS)
    assert headers["KALSHI-ACCESS-KEY"] == KEY_ID
    assert headers["KALSHI-ACCESS-TIMESTAMP"] == "1703123456789"
    check_pss(rsa_key, headers, b"1703123456789GET/trade-api/v2/portfolio/balance")
    with pytest.raises(InvalidSignature):
        check_pss(rsa_key, headers, b"1703123456789GET/trade-api/v2/portfolio/orders")


def test_ed25519_keys_sign_the_text_itself() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    headers = Signer.from_pem(KEY_ID, pem(key, PrivateFormat.PKCS8)).headers("GET", "/trade-api/ws/v2", now_ms=NOW_MS)
    signature = base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"], validate=True)
    key.public_key().verify(signature, b"1703123456789GET/trade-api/ws/v2")


def test_query_and_host_stay_out_of_the_signed_text() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    signer = Signer.from_pem(KEY_ID, pem(key, PrivateFormat.PKCS8))
    for path in ("/trade-api/v2/markets?limit=5#x", "https://example.org/trade-api/v2/markets?limit=5"):
        signature = base64.b64decode(signer.headers("GET", path, now_ms=NOW_MS)["KALSHI-ACCESS-SIGNATURE"])
        key.public_key().verify(signature, b"1703123456789GET/trade-api/v2/markets")


def test_each_signature_of_an_rsa_key_differs(rsa_key: rsa.RSAPrivateKey) -> None:
    signer = Signer.from_pem(KEY_ID, pem(rsa_key, PrivateFormat.PKCS8))
    first, second = (signer.headers("GET", "/x", now_ms=NOW_MS)["KALSHI-ACCESS-SIGNATURE"] for _ in range(2))
    assert first != second


def test_a_wrong_key_file_is_named_and_never_shown(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    public = rsa_key.public_key().public_bytes(Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    elliptic = pem(ec.generate_private_key(ec.SECP256R1()), PrivateFormat.PKCS8)
    for content, said in (
        (public, "BEGIN PUBLIC KEY"),
        (b"hunter2-secret", "no PEM header"),
        (elliptic, "ECPrivateKey"),
    ):
        path = tmp_path / "kalshi.pem"
        path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            Signer.from_file(KEY_ID, path)
        assert str(path) in str(caught.value)
        assert said in str(caught.value)
        assert "hunter2" not in str(caught.value)
        assert caught.value.hint


def test_an_absent_key_file_and_an_absent_key_id_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.pem"):
        Signer.from_file(KEY_ID, tmp_path / "absent.pem")
    key = pem(ed25519.Ed25519PrivateKey.generate(), PrivateFormat.PKCS8)
    with pytest.raises(ConfigError, match="key id"):
        Signer.from_pem("", key)


def test_an_encrypted_key_is_refused_with_the_remedy(rsa_key: rsa.RSAPrivateKey) -> None:
    locked = rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x"))
    with pytest.raises(ConfigError) as caught:
        Signer.from_pem(KEY_ID, locked)
    assert "not encrypted" in (caught.value.hint or "")


def test_the_key_is_in_no_representation(rsa_key: rsa.RSAPrivateKey) -> None:
    signer = Signer.from_pem(KEY_ID, pem(rsa_key, PrivateFormat.PKCS8))
    assert repr(signer) == f"Signer(key_id={KEY_ID!r})"
