"""Logins in their four forms, and connections that are encrypted and verified or not made at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from case import Case, Config, quick, source
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sandbox_process import BACKUP_PASSWORD, BACKUP_USER, CANARY
from strongroom_process import Ended, Strongroom


def with_credentials(
    case: Case, credentials: Config, environment: dict[str, str] | None = None, **more: str
) -> Strongroom:
    """The ledger with this login: its instance would let clients in without TLS, too."""
    sources = {"ledger": source("ledger", credentials=credentials)}
    return case.configure(dump=quick(), sources=sources, environment=environment, postgres=more)


def dump_that_fails(case: Case, strongroom: Strongroom) -> str:
    """Dumps, expects a failure without traces, and returns what was said, the same to the person as in the record."""
    ended: Ended = strongroom("backup", "dump", "ledger", code=1)
    (record,) = case.runs("ledger")
    message: str = record["failure"]["message"]
    assert message in ended.err
    assert case.dump_objects("ledger") == [] and case.uploads() == []
    assert CANARY not in ended.err + ended.out
    return message


def password_file(case: Case, text: str) -> str:
    path = case.directory / "password"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_a_login_from_secrets_manager_dumps(case: Case) -> None:
    with_credentials(case, {"secret": "rds/ledger/backup"})("backup", "dump", "ledger")
    assert case.run_states("ledger") == ["succeeded"]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=["bare", "newline", "windows"])
def test_a_login_from_a_file_dumps_however_the_line_ends(case: Case, end: str) -> None:
    file = password_file(case, BACKUP_PASSWORD + end)
    with_credentials(case, {"user": BACKUP_USER, "password_file": file})("backup", "dump", "ledger")
    assert case.run_states("ledger") == ["succeeded"]


def test_a_login_from_the_environment_dumps(case: Case) -> None:
    strongroom = with_credentials(
        case, {"user": BACKUP_USER, "password_env": "LEDGER_PASSWORD"}, {"LEDGER_PASSWORD": BACKUP_PASSWORD}
    )
    strongroom("backup", "dump", "ledger")
    assert case.run_states("ledger") == ["succeeded"]


def test_a_login_by_iam_token_dumps(case: Case) -> None:
    """The sandbox lets this role in with any password, but over TLS only: shown is that a token is made and sent."""
    with_credentials(case, {"user": "token_user", "iam": True})("backup", "dump", "ledger")
    assert case.run_states("ledger") == ["succeeded"]


def test_a_wrong_password_is_told_with_user_and_server_and_without_the_password(case: Case) -> None:
    file = password_file(case, f"{CANARY}-wrong")
    message = dump_that_fails(case, with_credentials(case, {"user": BACKUP_USER, "password_file": file}))
    assert "connect to database ledger at localhost:" in message
    assert f'password authentication failed for user "{BACKUP_USER}"' in message


def test_a_password_that_changed_meanwhile_is_read_anew_by_the_daemon(case: Case) -> None:
    """Secrets are rotated under a running daemon: a login is never kept."""
    file = password_file(case, f"{CANARY}-old")
    strongroom = with_credentials(case, {"user": BACKUP_USER, "password_file": file})
    daemon = strongroom.start()
    daemon.wait_for_line("run failed")
    password_file(case, BACKUP_PASSWORD)
    daemon.wait_until_well()


def test_a_missing_password_file_is_named(case: Case) -> None:
    missing = str(case.directory / "nowhere")
    message = dump_that_fails(case, with_credentials(case, {"user": BACKUP_USER, "password_file": missing}))
    assert f"read the password file {missing}" in message


@pytest.mark.parametrize(
    ("secret", "says"), [("rds/nowhere", "ResourceNotFoundException"), ("rds/malformed", "username")]
)
def test_a_secret_that_gives_no_login_is_named_and_never_quoted(case: Case, secret: str, says: str) -> None:
    message = dump_that_fails(case, with_credentials(case, {"secret": secret}))
    assert f"read secret {secret}" in message and says in message


def test_a_password_variable_that_is_not_set_is_a_configuration_error(case: Case) -> None:
    ended = with_credentials(case, {"user": BACKUP_USER, "password_env": "NOT_SET_ANYWHERE"})("plan", code=2)
    # The variable is not quoted: people have been known to write the password itself there.
    assert "sources.ledger.credentials.password_env: the environment variable that it names is not set" in ended.err


def another_authority(directory: Path) -> str:
    """A good CA certificate that has nothing to do with the server's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Another root CA")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    path = directory / "another-ca.pem"
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return str(path)


def sessions_without_tls(case: Case, ask: Strongroom) -> int:
    """How many sessions of the dumping role came without TLS while `ask` failed, as the server itself logged them."""
    case.sandbox.rds("run_sql", id="bank-ledger", sql="ALTER SYSTEM SET log_connections = on")
    case.sandbox.rds("run_sql", id="bank-ledger", sql="SELECT pg_reload_conf()")
    try:
        dump_that_fails(case, ask)
    finally:
        case.sandbox.rds("run_sql", id="bank-ledger", sql="ALTER SYSTEM RESET log_connections")
        case.sandbox.rds("run_sql", id="bank-ledger", sql="SELECT pg_reload_conf()")
    lines = case.sandbox.server_log("bank-ledger").splitlines()
    authorized = [line for line in lines if "connection authorized" in line and f"user={BACKUP_USER}" in line]
    return sum("SSL enabled" not in line for line in authorized)


def test_a_server_whose_certificate_is_of_another_authority_is_not_talked_to(case: Case, tmp_path: Path) -> None:
    ca_file = another_authority(tmp_path)
    strongroom = with_credentials(case, {"secret": "rds/ledger/backup"}, ca_file=ca_file)
    assert sessions_without_tls(case, strongroom) == 0, "no fall back to plain text"
    (record,) = case.runs("ledger")
    message = record["failure"]["message"]
    assert "certificate" in message and "UnknownIssuer" in message
    assert ca_file in message, "who reads it has to know which file to correct"


@pytest.mark.parametrize("content", [None, "", "no certificate at all\n"], ids=["missing", "empty", "text"])
def test_a_ca_file_without_certificates_is_named(case: Case, tmp_path: Path, content: str | None) -> None:
    ca_file = tmp_path / "bundle.pem"
    if content is not None:
        ca_file.write_text(content)
    message = dump_that_fails(case, with_credentials(case, {"secret": "rds/ledger/backup"}, ca_file=str(ca_file)))
    assert str(ca_file) in message and "certificate" in message


def test_settings_of_libpq_in_the_environment_do_not_weaken_the_connection(case: Case) -> None:
    """A stray PGSSLMODE or PGHOST of the operator's shell must not reach the client."""
    stray = {"PGSSLMODE": "disable", "PGHOST": "192.0.2.1", "PGPORT": "1", "PGUSER": "nobody", "PGPASSWORD": "x"}
    with_credentials(case, {"user": "token_user", "iam": True}, stray)("backup", "dump", "ledger")
    assert case.run_states("ledger") == ["succeeded"], "the role is let in over TLS only"
