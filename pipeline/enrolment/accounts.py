"""Who may log in at the broker. Of an enrolled edge's password only hashes are kept, one for each kind of broker."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from secrets import token_bytes, token_hex, token_urlsafe

import bcrypt

from cellherd.errors import CellherdError
from cellherd.secrecy import remember

INGEST = "ingest"
FILE = "accounts.json"
_ROUNDS = 101
"""Mosquitto's own default; like bcrypt's least work factor it is enough for 192 random bits."""


@dataclass(frozen=True, slots=True)
class Account:
    """An enrolled edge: hashes of its password, its client id, its certificate's serial number, UTC dates."""

    client_id: str
    bcrypt: str
    pbkdf2: str
    since: str
    certificate: str = ""
    revoked: str = ""


Accounts = Mapping[str, Account]


def new_account(edge: str, since: str) -> tuple[Account, str]:
    """An account with a new password, which stands nowhere else than in what is returned here."""
    password = token_urlsafe(24)
    remember(password)
    return Account(f"{edge}-{token_hex(8)}", bcrypt_of(password), pbkdf2_of(password), since), password


def read(folder: Path) -> dict[str, Account]:
    """All accounts below the broker's folder. Raises CellherdError where the file is damaged."""
    try:
        told = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {name: Account(**account) for name, account in told["accounts"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CellherdError(f"{folder / FILE} is damaged ({error}); put its backup back, or enroll anew") from None


def change(folder: Path, how: Callable[[dict[str, Account]], dict[str, Account]]) -> None:
    """Read, change and write the accounts, durable on return, while no other process does the same."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "accounts.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        accounts = how(read(folder))
        told = {"v": 1, "accounts": {name: asdict(account) for name, account in sorted(accounts.items())}}
        write_private(folder / FILE, json.dumps(told, indent=1) + "\n")


def put(folder: Path, edge: str, account: Account) -> None:
    """Let an edge in, in place of the account it had. A password from before enrolment ends."""
    change(folder, lambda accounts: accounts | {edge: account})
    (folder / "secrets" / edge).unlink(missing_ok=True)


def revoke(folder: Path, edge: str, when: str) -> None:
    """Shut an edge out; it stays in the file, so that nothing lets it in again but enrolling."""
    shut = Account("", "", "", "", revoked=when)
    change(folder, lambda all_: all_ | {edge: replace(all_.get(edge, shut), bcrypt="", pbkdf2="", revoked=when)})
    (folder / "secrets" / edge).unlink(missing_ok=True)


def bcrypt_of(password: str) -> str:
    """As nats-server reads it. The least work factor: 192 random bits, and 500 edges may connect at once."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4, b"2a")).decode()


def pbkdf2_of(password: str) -> str:
    """As a password file of Mosquitto 2 has it: PBKDF2 of SHA-512."""
    salt = token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
    return f"$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def secret(folder: Path, name: str) -> str:
    """The password of a user of this machine, made at random the first time, in a file that only we may read."""
    path = folder / "secrets" / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        write_private(path, token_urlsafe(24))
    found = path.read_text()
    remember(found)
    return found


def write_private(path: Path, text: str, mode: int = 0o600, encoding: str = "utf-8") -> None:
    """Write a file of ours whole or not at all, durable on return, never readable by others."""
    beside = path.with_name(f".{path.name}.{token_hex(4)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(handle, mode)  # whatever the umask
        with os.fdopen(handle, "w", encoding=encoding, newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
