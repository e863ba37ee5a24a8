"""The keys of a laptop: made where they are missing, one for each person, and who is enrolled with them."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from vertebra.audit.keys import audit_keys, context_key, person_key
from vertebra.client.people import Enrolment
from vertebra.schemas.authored import AuthoredPerson
from vertebra.schemas.errors import SettingsError
from vertebra.store.migrate import ROLES, Role

_PASSWORDS = "database.json"


def make_keys(folder: Path) -> None:
    """The seal key and the audit key, made where they are missing, in a private folder. Raises SettingsError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    context_key(folder, create=True)
    audit_keys(folder, create=True)


def enrolments(folder: Path, people: Iterable[AuthoredPerson], user: str) -> list[Enrolment]:
    """Everybody of people.yaml, each with a key unless it is a service, and the system's user as admin besides."""
    found = {person.name: _enrolment(folder, person) for person in people}
    mine = found.get(user)
    roles = ("admin", *(mine.roles if mine else ()))
    found[user] = Enrolment(user, roles, person_key(folder, user, create=True).public)
    return list(found.values())


def database_passwords(folder: Path) -> dict[Role, str]:
    """A password for each role of the database, made once. Raises SettingsError."""
    path = folder / _PASSWORDS
    if not path.exists():
        made = {role: secrets.token_urlsafe(24) for role in ROLES}
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(made, file)
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return {role: str(known[role]) for role in ROLES}
    except (ValueError, KeyError, TypeError):
        raise SettingsError(
            "this does not hold the passwords of the database's roles", at=path, do="remove it"
        ) from None


def role_dsns(superuser: str, passwords: Mapping[Role, str]) -> dict[str, str]:
    """The same database, as each role."""
    parts = urlsplit(superuser)
    host = parts.netloc.rpartition("@")[2]
    return {
        role: parts._replace(netloc=f"{role}:{quote(password, safe='')}@{host}").geturl()
        for role, password in passwords.items()
    }


def _enrolment(folder: Path, person: AuthoredPerson) -> Enrolment:
    if person.service:
        return Enrolment(person.name, person.roles, None, service=True)
    return Enrolment(person.name, person.roles, person_key(folder, person.name, create=True).public)
