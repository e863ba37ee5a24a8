"""Every setting of every process, read once at the edge into one frozen value that knows where each came from.

A value is taken from a flag, else from `VERTEBRA_*`, else from vertebra.toml, else from the running services of the
folder, else it is the default. The services' addresses count only where nobody set one: half of each would be worse.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from vertebra.policies.fields import nearest
from vertebra.policies.hosts import HOST_RULE, has_port, is_rule, target_of
from vertebra.policies.secret_refs import SECRET_RULE, is_reference, is_secret_rule
from vertebra.schemas.canonical import Json
from vertebra.schemas.errors import SettingsError
from vertebra.schemas.ids import ENDPOINT, SECRET
from vertebra.store.address import is_address

__all__ = ["DSN_OF", "Layers", "Limits", "Loaded", "Settings", "find_project", "load"]

PROJECT_FILE = "vertebra.toml"
STATE_FOLDER = ".vertebra"
PREFIX = "VERTEBRA_"
_NESTED = "__"
_ADDRESSES = ("database_url", "gate_dsn", "api_dsn", "keeper_dsn", "reader_dsn", "temporal_address")

Role = Literal["vertebra_owner", "vertebra_gate", "vertebra_api", "vertebra_keeper", "vertebra_reader"]
DSN_OF: Mapping[Role, str] = {
    "vertebra_owner": "database_url",
    "vertebra_gate": "gate_dsn",
    "vertebra_api": "api_dsn",
    "vertebra_keeper": "keeper_dsn",
    "vertebra_reader": "reader_dsn",
}


def _listed(value: object) -> object:
    """`a, b` as an environment writes a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _numbered(value: object) -> object:
    """A number as an environment writes it."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


HOST_NAME = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"
_HERE = ("127.0.0.1", "localhost", "[::1]")
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]


class Endpoint(BaseModel):
    """An address that models may be asked at, and the name of the secret that goes there; None: no key does."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str
    secret: str | None = None

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        if not ENDPOINT.fullmatch(url) or target_of(url) is None:
            raise ValueError("an endpoint is a plain address such as http://127.0.0.1:8000/v1, without user or query")
        return url.rstrip("/")

    @field_validator("secret")
    @classmethod
    def _named(cls, secret: str | None) -> str | None:
        if secret is not None and not SECRET.fullmatch(secret):
            raise ValueError("after its address stands the name of its key, secret://env/NAME or secret://file/PATH")
        return secret

    @model_validator(mode="after")
    def _hidden(self) -> Endpoint:
        found = ENDPOINT.fullmatch(self.url)
        assert found is not None
        if self.secret and found["scheme"] == "http" and found["host"] not in _HERE:
            raise ValueError(f"{self.url} would get its key in the clear; write https://, or leave the key out")
        return self

    def __str__(self) -> str:
        return " ".join(part for part in (self.url, self.secret) if part)


def _endpoint(value: object) -> object:
    """`URL` or `URL secret://...` as one text."""
    if not isinstance(value, str):
        return value
    url, _, secret = value.strip().partition(" ")
    return {"url": url, "secret": secret.strip() or None}


def _rules(is_good: Callable[[str], bool], advice: str) -> AfterValidator:
    """Each entry of a list must be a rule."""

    def checked(value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not is_good(one):
                raise ValueError(f"{one!r} is no rule; {advice}")
        return value

    return AfterValidator(checked)


HostRules = Annotated[Names, NoDecode, _rules(is_rule, HOST_RULE)]
SecretRules = Annotated[Names, NoDecode, _rules(is_secret_rule, SECRET_RULE)]


class Limits(BaseModel):
    """How much one worker does at once."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    workflow_tasks: int = Field(default=16, ge=2, le=200)
    """More buys contention for the interpreter and false deadlocks."""
    effects: int = Field(default=64, ge=1, le=1000)
    """Model and tool calls in flight."""
    connections: int = Field(default=16, ge=2, le=200)
    """The most connections to Postgres."""
    cached_runs: int = Field(default=1000, ge=1)
    """Runs kept in memory between their steps, some 130 KiB each; others are read again from their histories.

    At least as many as `limits.workflow_tasks`.
    """

    @field_validator("cached_runs")
    @classmethod
    def _room_for_tasks(cls, runs: int, info: ValidationInfo) -> int:
        """A run whose step is under way must stay: put out for another one, its task runs into its time limit."""
        tasks = info.data.get("workflow_tasks", runs)
        if runs < tasks:
            raise ValueError(f"fewer than the {tasks} workflow tasks at once; set at least as many, or fewer tasks")
        return runs


Endpoints = Annotated[tuple[Annotated[Endpoint, BeforeValidator(_endpoint)], ...], NoDecode, BeforeValidator(_listed)]


def _only_with_tls(value: object, info: ValidationInfo) -> object:
    """Without TLS these would do nothing, and an API key would be read by everybody on the way."""
    if value is not None and not info.data.get("temporal_tls", True):  # absent where it is wrong itself
        raise ValueError(f"it counts only with TLS; set temporal_tls = true as well ({variable('temporal_tls')})")
    return value


def _reference(value: str | None) -> str | None:
    if value is not None and not is_reference(value):
        # not quoted: whoever writes a key where its name belongs must not find it in a log
        raise ValueError("write the name of the secret, never the key: secret://env/NAME or secret://file/PATH")
    return value


SecuredPath = Annotated[Path | None, AfterValidator(_only_with_tls)]
SecuredName = Annotated[Annotated[str, Field(pattern=HOST_NAME)] | None, AfterValidator(_only_with_tls)]
SecuredReference = Annotated[str | None, AfterValidator(_reference), AfterValidator(_only_with_tls)]


def _in_state(name: str) -> Any:
    return Field(default_factory=lambda given: given["project"] / STATE_FOLDER / name)


class Settings(BaseSettings):
    """Get one from `load`. DSNs are shown by nothing; read them with `dsn`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=_NESTED, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    name: str = "vertebra"
    """The project's name."""
    project: Path
    """The folder that holds vertebra.toml; relative paths below start here."""
    person: str | None = None
    """Who signs; by default the user of the operating system."""
    database_url: SecretStr | None = None
    """Postgres as `vertebra_owner` (or a superuser): migrations and people."""
    gate_dsn: SecretStr | None = None
    """Postgres as `vertebra_gate`: workers."""
    api_dsn: SecretStr | None = None
    """Postgres as `vertebra_api`: the command line."""
    keeper_dsn: SecretStr | None = None
    """Postgres as `vertebra_keeper`: background duties that run alone."""
    reader_dsn: SecretStr | None = None
    """Postgres as `vertebra_reader`: looking at runs, costs and the audit."""
    temporal_address: str = "127.0.0.1:7233"
    """HOST:PORT of Temporal's frontend."""
    temporal_namespace: str = "default"
    """The namespace, which is a boundary of trust: who works in it can forge results."""
    temporal_tls: bool = False
    """Whether the line to Temporal is encrypted. The settings below count only with it."""
    temporal_tls_ca: SecuredPath = None
    """The PEM file of the authorities that sign Temporal's certificate; by default those that the system trusts."""
    temporal_tls_cert: SecuredPath = None
    """The PEM file of the certificate that Temporal knows this process by (mTLS)."""
    temporal_tls_key: SecuredPath = Field(default=None, validate_default=True)
    """The PEM file of its private key, without a password."""
    temporal_tls_server_name: SecuredName = None
    """The name that Temporal's certificate has, where it is reached under another."""
    temporal_api_key: SecuredReference = None
    """The name of the secret that holds Temporal's API key, never the key: secret://env/NAME or secret://file/PATH."""
    temporal_ui: str | None = None
    """Where people look at runs."""
    temporal_cli: Path | None = None
    """The `temporal` binary of the local server, and no other."""
    postgres: Annotated[Literal[16, 18], BeforeValidator(_numbered)] = 16
    """Which server of the wheel runs locally."""
    web_ui: bool = True
    """Whether the local Temporal serves its Web UI."""
    keys: Path = _in_state("keys")
    """The private folder of keys; `vertebra dev` or `vertebra keys make` makes them."""
    artifacts: Path = _in_state("artifacts")
    """The folder of values over 1 MB."""
    maildir: Path = _in_state("mail")
    """Where the tool send_email puts its mails."""
    sales: Path = _in_state("sales.jsonl")
    """Where the scripted provider notes each reply that it sold."""
    drafts: bool = False
    """Whether a start without a version may take a draft."""
    trusted_tools: Names = ()
    """The operator's allow-list: foreign tools that may run inside the worker."""
    endpoints: Endpoints = ()
    """Addresses besides the vendors' own that models may be asked at, each with the name of its key if it takes one.

    `http://127.0.0.1:8000/v1, https://llm.example.com/v1 secret://env/EXAMPLE_KEY`. A vendor's own address stands here
    only to take its key from elsewhere: `https://api.openai.com/v1 secret://file/run/secrets/openai`.
    """
    read_folders: Names = ()
    """Folders of the project whose files the tool read_file may read, such as documents."""
    egress_hosts: HostRules = ()
    """The operator's allow-list of hosts for requests: api.example.org, *.example.org, api.example.org:8443."""
    egress_inside: Names = ()
    """HOST:PORT of those whose addresses need not be public; counts only with egress_inside_is_unsafe."""
    egress_inside_is_unsafe: bool = False
    """Says that somebody knows what egress_inside gives up."""
    egress_secrets: SecretRules = ()
    """Which secret a request may take where: secret://env/SHOP_KEY@api.example.org."""
    egress_max_body_bytes: int = Field(default=1_000_000, ge=1024, le=16_000_000)
    """The most bytes that an answer to an http node or to http_get may have, after decompression."""
    sandbox_python: Path | None = None
    """The interpreter of sandboxed code; by default the first of /usr/bin and /usr/local/bin."""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Where this worker serves its figures for Prometheus; nowhere by default."""
    metrics_host: str = "127.0.0.1"
    """Other machines reach the figures only where this says so."""
    traces_endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s@]+$")
    """The OTLP/HTTP collector of spans, such as http://127.0.0.1:4318/v1/traces; without one, none are sent."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that a worker logs."""
    limits: Limits = Limits()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments only: `load` reads the rest once, and keeps where each value came from."""
        return (init_settings,)

    @field_validator(*DSN_OF.values())
    @classmethod
    def _readable(cls, dsn: SecretStr | None) -> SecretStr | None:
        if dsn is not None and not is_address(dsn.get_secret_value()):
            raise ValueError(
                "no address of Postgres like postgresql://NAME:PASSWORD@HOST:PORT/DATABASE; in the password write @ as "
                "%40, / as %2F, % as %25"
            )
        return dsn

    @field_validator("endpoints")
    @classmethod
    def _once(cls, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        urls = [endpoint.url for endpoint in endpoints]
        if len(urls) != len(set(urls)):
            raise ValueError("an endpoint stands here twice; which key goes there must be clear")
        return endpoints

    @field_validator("temporal_tls_key")
    @classmethod
    def _paired(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if (key is None) != (info.data.get("temporal_tls_cert") is None):
            pair = " and ".join(variable(name) for name in ("temporal_tls_cert", "temporal_tls_key"))
            raise ValueError(f"a client certificate and its key go together; set both or none: {pair}")
        return key

    @model_validator(mode="after")
    def _inside_is_meant(self) -> Self:
        """A setting that weakens the guard needs a second one that says so."""
        wrong = next((rule for rule in self.egress_inside if not has_port(rule)), None)
        if wrong is not None:
            raise ValueError(f"egress_inside: {wrong!r} is no HOST:PORT")
        if self.egress_inside and not self.egress_inside_is_unsafe:
            raise ValueError(
                "egress_inside lets requests reach addresses that are not public; if that is meant, set "
                f"egress_inside_is_unsafe = true as well ({variable('egress_inside_is_unsafe')})"
            )
        return self

    def dsn(self, role: Role) -> str:
        """How to reach Postgres as this role. Raises SettingsError, naming the variable."""
        name = DSN_OF[role]
        found: SecretStr | None = getattr(self, name)
        if found is None:
            raise SettingsError(
                f"no address of Postgres for {role!r}: neither {variable(name)} nor a running `vertebra dev`",
                at=self.project,
                do=f"start `vertebra dev` in the project folder, or set {variable(name)}",
            )
        return found.get_secret_value()


@dataclass(frozen=True)
class Layers:
    """What the edge read besides vertebra.toml and the environment."""

    flags: Mapping[str, object]
    services: Mapping[str, object]
    """Addresses of the folder's running services, by setting."""


NO_LAYERS = Layers({}, {})


@dataclass(frozen=True)
class Loaded:
    """Settings, and the origin of each by name (`limits.effects` for one of a group)."""

    settings: Settings
    origins: Mapping[str, str]


def find_project(start: Path) -> Path:
    """The nearest folder at or above `start` that holds vertebra.toml. Raises SettingsError."""
    for folder in (start.absolute(), *start.absolute().parents):
        if (folder / PROJECT_FILE).is_file():
            return folder
    raise SettingsError(
        f"this is no project: there is no {PROJECT_FILE} here or above",
        at=start.absolute(),
        do="go into a project folder, or make one with: vertebra init NAME",
    )


def load(project: Path, environ: Mapping[str, str], layers: Layers = NO_LAYERS) -> Loaded:
    """Read all settings of a project. Raises SettingsError at the first key that nobody knows, and for wrong values."""
    file = project / PROJECT_FILE
    given = {
        "flag": dict(layers.flags),
        "environment": _environment(environ),
        PROJECT_FILE: _file(file),
    }
    named = {name for values in given.values() for name in values}
    if not named.intersection(_ADDRESSES) and not _wants_tls(given):
        given["services.json"] = dict(layers.services)
    merged: dict[str, object] = {}
    origins = dict.fromkeys(_all_names(), "default")
    for origin, values in reversed(given.items()):
        for path, value in _flat(values):
            _put(merged, path, value)
            origins[".".join(path)] = origin
    merged["project"] = project.absolute()
    return Loaded(_validated(_resolved(merged, project), origins), origins)


def _wants_tls(given: Mapping[str, Mapping[str, object]]) -> bool:
    """The laptop's own servers speak none; `false`, said aloud, changes nothing."""
    said = next((values["temporal_tls"] for values in given.values() if "temporal_tls" in values), False)
    return str(said).lower() not in ("false", "0", "no", "off", "f", "n")


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.replace(".", _NESTED).upper()


def _environment(environ: Mapping[str, str]) -> dict[str, object]:
    known = {variable(name): name for name in _all_names()} | {PREFIX + "PROJECT": "project"}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            raise SettingsError(f"no setting is called {name}", at="environment", do=nearest(name, known))
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value for name, value in environ.items() if name in known}
    return {name: value for name, value in source().items() if name != "project"}


def _file(path: Path) -> dict[str, object]:
    try:
        # -sig: some editors put a byte order mark in front, which YAML and Python pass over
        values: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise SettingsError("not valid UTF-8", at=path, do="save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"it is no TOML: {error}", at=path, do='write lines such as: name = "support"') from None
    except OSError as error:
        raise SettingsError(f"it cannot be read: {error.strerror}", at=path) from None
    known = [name for name in _all_names() if name != "project"]
    for name, value in ((".".join(parts), value) for parts, value in _flat(values)):
        if name not in known:
            raise SettingsError(f"no setting is called {name!r}", at=path, do=nearest(name, known))
        if name in DSN_OF.values() and _has_password(value):
            raise SettingsError(
                f"{name!r} holds a password, and no secret belongs into this file", at=path, do=f"set {variable(name)}"
            )
    return values


def _has_password(dsn: object) -> bool:
    text = str(dsn)
    return "password" in text or ":" in text.partition("://")[2].rpartition("@")[0]


def _all_names() -> tuple[str, ...]:
    """Every setting, those of a group as `group.name`."""
    names: list[str] = []
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        inner = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}
        names += [f"{name}.{part}" for part in inner] or [name]
    return tuple(names)


def _flat(values: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from (((name, *rest), item) for rest, item in _flat(value))
        else:
            yield (name,), value


def _put(target: dict[str, object], path: tuple[str, ...], value: object) -> None:
    if len(path) == 1:
        target[path[0]] = value
        return
    inner = target.setdefault(path[0], {})
    assert isinstance(inner, dict)
    _put(inner, path[1:], value)


def _resolved(values: dict[str, object], project: Path) -> dict[str, object]:
    """Relative folders start at the project, wherever the process was started."""
    places = (
        *("keys", "artifacts", "maildir", "sales"),
        *("temporal_tls_ca", "temporal_tls_cert", "temporal_tls_key"),
    )
    return values | {name: project.absolute() / str(values[name]) for name in places if name in values}


def _validated(values: Mapping[str, object], origins: Mapping[str, str]) -> Settings:
    try:
        return Settings(**values)  # type: ignore[arg-type]  # it is the model that checks them
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        name = name if name in origins else name.partition(".")[0]  # of a list, its items have no origins
        origin = origins.get(name, "settings")
        called = variable(name) if origin == "environment" else repr(name)
        said = first["msg"].removeprefix("Value error, ")  # ours, which the validator hands on
        raise SettingsError(f"{called}: {said}" if name else said, at=origin) from None


def shown(settings: Settings) -> dict[str, Json]:
    """Every setting by name as text, secrets masked, for `vertebra doctor`."""
    values = settings.model_dump(mode="json") | {"endpoints": [str(one) for one in settings.endpoints]}
    return {".".join(path): value if value is None else str(value) for path, value in _flat(values)}
