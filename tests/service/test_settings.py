import pytest

from service.settings import Settings
from tsforecast.errors import OptionError


def test_an_empty_environment_gives_the_defaults_and_a_server_for_this_machine_only() -> None:
    settings = Settings.from_env({})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.torch_threads, settings.default_model) == ("127.0.0.1", 8000, 1, None)


def test_each_variable_is_read_as_the_type_of_its_field_and_an_empty_one_is_not_set() -> None:
    environ = {"TSF_DEFAULT_MODEL": "demand@champion", "TSF_MAX_HORIZON": "48", "TSF_REFRESH_SECONDS": "2.5", "TSF_MODEL_DIR": ""}
    settings = Settings.from_env(environ | {"HOME": "x", "TSF_DATA_DIR": "elsewhere"})
    assert settings == Settings(default_model="demand@champion", max_horizon=48, refresh_seconds=2.5)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TSF_MAX_HORIZON", "many", "TSF_MAX_HORIZON must be a whole number, got 'many'"),
        ("TSF_MAX_HORIZON", "4.5", "TSF_MAX_HORIZON must be a whole number, got '4.5'"),
        ("TSF_MAX_HORIZON", "0", "TSF_MAX_HORIZON must be at least 1, got 0"),
        ("TSF_REQUEST_SECONDS", "soon", "TSF_REQUEST_SECONDS must be a number, got 'soon'"),
        ("TSF_REQUEST_SECONDS", "inf", "TSF_REQUEST_SECONDS must be at least 0.01, got inf"),
        ("TSF_REQUEST_SECONDS", "nan", "TSF_REQUEST_SECONDS must be at least 0.01, got nan"),
        ("TSF_REFRESH_SECONDS", "0", "TSF_REFRESH_SECONDS must be at least 0.01, got 0.0"),
        ("TSF_PORT", "-1", "TSF_PORT must be at least 0, got -1"),
        ("TSF_PORT", "70000", "TSF_PORT must be at most 65535, got 70000"),
        ("TSF_MAX_HORIZN", "3", "TSF_MAX_HORIZN is no setting; did you mean TSF_MAX_HORIZON?"),
    ],
)
def test_a_bad_value_names_its_variable(variable: str, value: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Settings.from_env({variable: value})
    assert (str(caught.value), caught.value.field) == (message, variable)
