"""Settings: read once, complaining once, never telling a secret."""

import pytest

from config import SettingsError, load, variables

SECRET = "s" * 30


def test_nothing_needs_to_be_set():
    settings = load({})

    assert (settings.host, settings.port, settings.public_reads) == ("127.0.0.1", 8070, "local")
    assert settings.postgres_dsn is None


def test_every_bad_variable_is_named_at_once_with_what_is_allowed():
    with pytest.raises(SettingsError) as caught:
        load({"PORT": "80800", "LOG_LEVEL": "loud", "MAX_ITEMS": "many", "PROM_URL": "prometheus:9090"})

    assert len(caught.value.problems) == 4
    for words in (
        "PORT must be a whole number from 0 to 65535",
        "LOG_LEVEL must be debug or info",
        "MAX_ITEMS",
        "http://",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize("name", ["POSTGRES_DSN", "MILLRACE_ADMIN_KEY", "KEY_PEPPER", "OPENAI_KEY"])
def test_a_secret_is_never_shown(name):
    text = f"postgresql://me:{SECRET}@db/x" if name == "POSTGRES_DSN" else SECRET

    settings = load({name: text})

    assert SECRET not in repr(settings)
    assert "(set)" in repr(settings)


def test_a_bad_secret_is_not_repeated_in_the_complaint():
    with pytest.raises(SettingsError) as caught:
        load({"POSTGRES_DSN": f"mysql://me:{SECRET}@db/x"})

    assert SECRET not in str(caught.value)


def test_a_secret_may_come_from_a_file(tmp_path):
    (tmp_path / "key").write_text(f"{SECRET}\n")

    assert load({"MILLRACE_ADMIN_KEY_FILE": str(tmp_path / "key")}).admin_key == SECRET


def test_a_missing_or_empty_secret_file_is_named(tmp_path):
    (tmp_path / "empty").touch()

    with pytest.raises(SettingsError) as caught:
        load({"KEY_PEPPER_FILE": str(tmp_path / "none"), "OPENAI_KEY_FILE": str(tmp_path / "empty")})

    assert ["KEY_PEPPER_FILE" in caught.value.problems[0], "OPENAI_KEY_FILE" in caught.value.problems[1]] == [
        True,
        True,
    ]


def test_an_alias_counts_and_is_told():
    settings = load({"DATABASE_URL": "postgres://db/x"})

    assert settings.postgres_dsn == "postgres://db/x"
    assert settings.aliases_used == ("DATABASE_URL is used as POSTGRES_DSN",)


def test_the_name_itself_wins_over_its_alias():
    settings = load({"DATABASE_URL": "postgres://db/other", "POSTGRES_DSN": "postgres://db/mine"})

    assert settings.postgres_dsn == "postgres://db/mine"


@pytest.mark.parametrize(
    ("environ", "mode"),
    [
        ({}, "local"),
        ({"HOST": "localhost"}, "local"),
        ({"HOST": "::1"}, "local"),
        ({"HOST": "0.0.0.0"}, "off"),
        ({"HOST": "0.0.0.0", "PUBLIC_READS": "on"}, "on"),
        ({"PUBLIC_READS": "off"}, "off"),
    ],
)
def test_public_reads_are_open_only_where_nobody_else_listens(environ, mode):
    assert load(environ).public_reads == mode


@pytest.mark.parametrize(
    ("environ", "on"),
    [
        ({}, False),
        ({"OPENAI_API_KEY": SECRET}, False),
        ({"OPENAI_API_KEY": SECRET, "EMBEDDINGS": "on"}, True),
        ({"OPENAI_KEY": SECRET}, True),
        ({"OPENAI_KEY": SECRET, "EMBEDDINGS": "off"}, False),
        ({"OPENAI_BASE_URL": "http://localhost:1"}, True),
    ],
)
def test_a_key_left_in_a_shell_sends_nothing(environ, on):
    assert load(environ).embeddings_on is on


def test_embeddings_without_a_key_are_refused():
    with pytest.raises(SettingsError, match="EMBEDDINGS=on needs OPENAI_KEY"):
        load({"EMBEDDINGS": "on"})


@pytest.mark.parametrize(("text", "value"), [("2048", 2048), ("2KiB", 2048), ("1 MiB", 2**20), ("3m", 3 * 2**20)])
def test_sizes_are_understood(text, value):
    assert load({"MAX_BODY_BYTES": text}).max_body_bytes == value


@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_variable_counts_as_not_set(text):
    assert load({"PORT": text}).port == 8070


def test_every_default_is_one_that_its_variable_would_accept():
    refused = []
    for variable, default in variables().values():
        if default is None or default == ():
            continue
        text = {True: "on", False: "off"}.get(default, default) if isinstance(default, bool) else default
        try:
            variable.kind.parse(str(text))
        except (ValueError, KeyError):
            refused.append(variable.name)

    assert refused == []


def test_networks_and_hosts_are_lists():
    settings = load({"TRUSTED_PROXIES": "10.0.0.0/8, ::1", "HTTP_ALLOW_HOSTS": "a.local,.b.local"})

    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert settings.http_allow_hosts == ("a.local", ".b.local")


def test_a_collector_of_traces_is_named_the_standard_way():
    plain = load({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"})
    whole = load(
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/spans", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    )

    assert load({}).traces_url is None
    assert plain.traces_url == "http://collector:4318/v1/traces"
    assert (whole.traces_url, whole.otel_traces_sampler_arg) == ("http://collector:4318/spans", 0.5)


def test_headers_for_the_collector_are_pairs_and_secret():
    settings = load({"OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{SECRET}, x-tenant=a"})

    assert settings.otel_headers == (("authorization", f"Bearer {SECRET}"), ("x-tenant", "a"))
    assert SECRET not in repr(settings)


def test_another_protocol_than_ours_is_refused_in_words():
    with pytest.raises(SettingsError) as caught:
        load({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_SAMPLER_ARG": "2", "OTEL_EXPORTER_OTLP_HEADERS": "x"})

    assert "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf" in str(caught.value)
    assert len(caught.value.problems) == 3
