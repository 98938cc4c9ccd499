"""A certificate authority made for one server, and the server's certificate signed by it."""

from __future__ import annotations

import subprocess
from pathlib import Path

AUTHORITY = """\
[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
CN = tests only
[extensions]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
SERVER = """\
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1, DNS:localhost
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
DAYS = "2"


def make_certificates(folder: Path) -> None:
    """Write ca.crt, server.crt and server.key (PEM), valid for 127.0.0.1 and localhost, now and for a day at least.

    Runs the `openssl` command; RuntimeError with its words if it fails.
    """
    (folder / "ca.cnf").write_text(AUTHORITY)
    (folder / "server.cnf").write_text(SERVER)
    for name in ("ca", "server"):
        _openssl(folder, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key")
    _openssl(folder, "req", "-x509", "-config", "ca.cnf", "-key", "ca.key", "-days", DAYS, "-out", "ca.crt")
    _openssl(
        folder, "req", "-new", "-config", "ca.cnf", "-subj", "/CN=localhost", "-key", "server.key", "-out", "server.csr"
    )
    signed = ("-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "server.cnf")
    _openssl(folder, "x509", "-req", *signed, "-days", DAYS, "-out", "server.crt")


def _openssl(folder: Path, *args: str) -> None:
    done = subprocess.run(["openssl", *args], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {args[0]} failed: {done.stderr.strip()}")
