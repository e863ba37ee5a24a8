from __future__ import annotations

from pathlib import Path

import pytest

from vertebra.schemas.errors import SettingsError
from vertebra.settings import DSN_OF, Layers, find_project, load, shown, variable

SECRET = "hunter2-canary"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "vertebra.toml").write_text('name = "shop"\n[limits]\neffects = 8\n')
    return tmp_path


def test_the_nearest_value_wins_and_its_origin_is_known(project: Path) -> None:
    """A flag beats the environment, which beats the file, which beats the services, which beat the default."""
    environ = {"VERTEBRA_LIMITS__EFFECTS": "9", "VERTEBRA_DRAFTS": "true", "HOME": "/"}
    layers = Layers({"drafts": False}, {"temporal_ui": "http://127.0.0.1:8233"})

    loaded = load(project, environ, layers)

    assert ("shop", 9, False) == (loaded.settings.name, loaded.settings.limits.effects, loaded.settings.drafts)
    assert "http://127.0.0.1:8233" == loaded.settings.temporal_ui
    origins = loaded.origins
    assert ("vertebra.toml", "environment", "flag") == (origins["name"], origins["limits.effects"], origins["drafts"])
    assert ("services.json", "default") == (origins["temporal_ui"], origins["limits.connections"])


def test_tls_that_is_wanted_leaves_out_the_local_services_and_tls_that_is_not_does_not(project: Path) -> None:
    """Servers on the same machine speak none; who says the default aloud still means them."""
    layers = Layers({}, {"temporal_address": "127.0.0.1:7"})

    wanted = load(project, {"VERTEBRA_TEMPORAL_TLS": "true"}, layers)
    unwanted = load(project, {"VERTEBRA_TEMPORAL_TLS": "false"}, layers)

    assert "127.0.0.1:7" != wanted.settings.temporal_address
    assert "127.0.0.1:7" == unwanted.settings.temporal_address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('egress_hosts = ["https://shop.example"]', "no rule"),
        ('egress_secrets = ["secret://env/KEY"]', "REFERENCE@HOST"),
        ('egress_inside = ["shop.example"]\negress_inside_is_unsafe = true', "no HOST:PORT"),
        ('egress_inside = ["shop.example:8080"]', "VERTEBRA_EGRESS_INSIDE_IS_UNSAFE"),
    ],
)
def test_a_way_out_is_opened_on_purpose_only(project: Path, text: str, said: str) -> None:
    """Hosts and secrets are exact rules, and what weakens the guard needs a second setting that says so."""
    (project / "vertebra.toml").write_text(text)

    with pytest.raises(SettingsError, match=said) as refused:
        load(project, {})
    assert "Value error" not in str(refused.value), "the validator's own words"
    assert "'': " not in str(refused.value), "a setting without a name"


def test_an_address_that_somebody_set_leaves_out_the_local_services(project: Path) -> None:
    """Half of one installation and half of another would be worse than an error."""
    layers = Layers({}, {"gate_dsn": "postgresql://local", "temporal_address": "127.0.0.1:7"})

    loaded = load(project, {"VERTEBRA_TEMPORAL_ADDRESS": "temporal.example:7233"}, layers)

    assert "temporal.example:7233" == loaded.settings.temporal_address
    with pytest.raises(SettingsError, match="VERTEBRA_GATE_DSN"):
        loaded.settings.dsn("vertebra_gate")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('nmae = "x"', "did you mean 'name'"),
        ("drafts = 7", "drafts"),
        ("[limits]\nefects = 1", "did you mean 'limits.effects'"),
        (
            "[limits]\nworkflow_tasks = 20\ncached_runs = 19",
            "'limits.cached_runs': fewer than the 20 workflow tasks at once",
        ),
        ("name = ", "no TOML"),
        (b'name = "caf\xe9"', "not valid UTF-8; save it as UTF-8"),
        (f'gate_dsn = "postgresql://a:{SECRET}@h/d"', "no secret belongs"),
        ('gate_dsn = "postgresql://[h"', "'gate_dsn': no address of Postgres"),
    ],
)
def test_a_wrong_file_stops_the_start(project: Path, text: str | bytes, said: str) -> None:
    """An unknown key names the nearest, a wrong value its setting, and a secret is not repeated."""
    (project / "vertebra.toml").write_bytes(text.encode() if isinstance(text, str) else text)

    with pytest.raises(SettingsError) as caught:
        load(project, {})

    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_byte_order_mark_is_passed_over(project: Path) -> None:
    """Some editors put one in front of every file, and the other files of a project may have it."""
    (project / "vertebra.toml").write_text('\ufeffname = "shop"\n', encoding="utf-8")

    assert "shop" == load(project, {}).settings.name


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("VERTEBRA_DRAFT", "1", "VERTEBRA_DRAFTS"),
        ("VERTEBRA_METRICS_PORT", "http", "VERTEBRA_METRICS_PORT"),
        ("VERTEBRA_LIMITS__EFFECTS", "0", "VERTEBRA_LIMITS__EFFECTS"),
        ("VERTEBRA_LIMITS", "{}", "VERTEBRA_LIMITS__EFFECTS"),
    ],
)
def test_a_wrong_variable_stops_the_start(project: Path, name: str, value: str, said: str) -> None:
    """A variable that nobody knows, or that holds something else, is named."""
    with pytest.raises(SettingsError, match=said):
        load(project, {name: value})


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://a:{SECRET}@[h/d",
        f"postgresql://a:1%zz{SECRET}@h/d",
        f"postgresql://a:1@{SECRET}@h/d",
        f"postgresql://a:{SECRET}/1@h/d",
        f"{SECRET} host=h",
    ],
)
@pytest.mark.parametrize("name", sorted(DSN_OF.values()))
def test_an_address_that_cannot_be_read_is_not_repeated(project: Path, name: str, dsn: str) -> None:
    """Where a password is not escaped, libpq would say a part of it aloud: the start ends before it is asked."""
    with pytest.raises(SettingsError, match=f"{variable(name)}: no address of Postgres") as caught:
        load(project, {variable(name): dsn})

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://a:{SECRET}%40%2F%25@h1:1,h2:2/d?sslmode=require",
        "postgresql://a@/d?host=%2Frun%2Fa%40b&port=5432",
        f"host=h port=5432 password='{SECRET} @/%'",
        "postgresql://[::1]:5432/d",
        "",
    ],
)
def test_every_way_to_write_an_address_is_taken(project: Path, dsn: str) -> None:
    """Several hosts, sockets, key words and IPv6; libpq has defaults for all that is left out."""
    assert dsn == load(project, {"VERTEBRA_GATE_DSN": dsn}).settings.dsn("vertebra_gate")


def test_no_secret_is_shown(project: Path) -> None:
    """A DSN is given by `dsn` alone: neither the listing nor the value's own text holds it."""
    settings = load(project, {"VERTEBRA_GATE_DSN": f"postgresql://a:{SECRET}@h/d"}).settings

    assert SECRET in settings.dsn("vertebra_gate")
    assert SECRET not in f"{shown(settings)}{settings!r}"


def test_lists_and_folders_are_read_as_people_write_them(project: Path) -> None:
    """A list is separated by commas, and a relative folder starts at the project."""
    settings = load(project, {"VERTEBRA_TRUSTED_TOOLS": "a, b", "VERTEBRA_KEYS": "k"}).settings

    assert (("a", "b"), project / "k") == (settings.trusted_tools, settings.keys)
    assert project / ".vertebra" / "artifacts" == settings.artifacts


def test_a_project_is_found_by_walking_up(project: Path) -> None:
    """The nearest folder with vertebra.toml is the project; without one the remedy is told."""
    inner = project / "a" / "b"
    inner.mkdir(parents=True)

    assert project == find_project(inner)
    with pytest.raises(SettingsError, match="vertebra init"):
        find_project(Path("/"))


def test_an_endpoint_has_its_own_key_or_none(project: Path) -> None:
    """An address alone is asked without a key; the name of a secret after it says which key goes there."""
    environ = {"VERTEBRA_ENDPOINTS": "http://127.0.0.1:8000/v1/, https://llm.example.com/v1  secret://env/EXAMPLE_KEY"}

    settings = load(project, environ).settings

    expected = [("http://127.0.0.1:8000/v1", None), ("https://llm.example.com/v1", "secret://env/EXAMPLE_KEY")]
    assert expected == [(endpoint.url, endpoint.secret) for endpoint in settings.endpoints]
    assert "https://llm.example.com/v1 secret://env/EXAMPLE_KEY" in str(shown(settings)["endpoints"])


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        (f"https://llm.example.com/v1 {SECRET}", "the name of its key"),
        (f"https://me:{SECRET}@llm.example.com/v1", "a plain address"),
        (f"https://llm.example.com/v1?key={SECRET}", "a plain address"),
        ("llm.example.com", "a plain address"),
        ("https://llm.example.com.:8443/v1", "a plain address"),
        ("https://llm.example.com:0/v1", "a plain address"),
        ("http://llm.example.com/v1 secret://env/EXAMPLE_KEY", "in the clear"),
        ("https://llm.example.com secret://vault/x", "the name of its key"),
        ("https://a.example/v1, https://a.example/v1/ secret://env/B", "stands here twice"),
    ],
)
def test_an_endpoint_that_would_leak_is_refused(project: Path, endpoint: str, said: str) -> None:
    """A key in place of its name, in the address or on an open line is refused, and not quoted."""
    with pytest.raises(SettingsError, match=said) as refused:
        load(project, {"VERTEBRA_ENDPOINTS": endpoint})

    assert "VERTEBRA_ENDPOINTS" in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"TLS": "perhaps"}, "VERTEBRA_TEMPORAL_TLS: "),
        ({"TLS": "true", "TLS_SERVER_NAME": "https://temporal.example"}, "VERTEBRA_TEMPORAL_TLS_SERVER_NAME: "),
        ({"TLS": "true", "TLS_CERT": "client.pem"}, "temporal_tls_key.*set both.*VERTEBRA_TEMPORAL_TLS_KEY"),
        ({"TLS": "true", "TLS_KEY": "client.key"}, "VERTEBRA_TEMPORAL_TLS_KEY: .*set both"),
        ({"TLS": "true", "API_KEY": SECRET}, "VERTEBRA_TEMPORAL_API_KEY: .*secret://env/NAME"),
        ({"TLS": "true", "API_KEY": f"secret://vault/{SECRET}"}, "VERTEBRA_TEMPORAL_API_KEY: .*secret://env/NAME"),
        ({"API_KEY": "secret://env/CLOUD_KEY"}, "VERTEBRA_TEMPORAL_API_KEY: .*only with TLS.*VERTEBRA_TEMPORAL_TLS"),
        ({"TLS": "false", "TLS_CA": "ca.pem"}, "VERTEBRA_TEMPORAL_TLS_CA: .*only with TLS"),
        ({"TLS_SERVER_NAME": "temporal.example"}, "VERTEBRA_TEMPORAL_TLS_SERVER_NAME: .*only with TLS"),
        ({"TLS_CACERT": "ca.pem"}, "VERTEBRA_TEMPORAL_TLS_CA"),
    ],
)
def test_a_line_to_temporal_is_not_half_secured(project: Path, given: dict[str, str], said: str) -> None:
    """What counts only with TLS, a certificate without its key, and a key in place of its name stop the start."""
    environ = {f"VERTEBRA_TEMPORAL_{name}": value for name, value in given.items()}

    with pytest.raises(SettingsError, match=said) as refused:
        load(project, environ)

    assert SECRET not in str(refused.value)


def test_a_secured_line_is_read(project: Path) -> None:
    """Files start at the project, the key is a name in the file too, and the local services are left out."""
    text = 'temporal_tls = true\ntemporal_tls_ca = "tls/ca.pem"\ntemporal_api_key = "secret://file/run/secrets/key"\n'
    (project / "vertebra.toml").write_text(text)

    settings = load(project, {}, Layers({}, {"temporal_address": "127.0.0.1:7", "gate_dsn": "postgresql://x"})).settings

    assert (True, project / "tls" / "ca.pem") == (settings.temporal_tls, settings.temporal_tls_ca)
    assert "secret://file/run/secrets/key" == shown(settings)["temporal_api_key"]
    assert ("127.0.0.1:7233", None) == (settings.temporal_address, settings.gate_dsn)
