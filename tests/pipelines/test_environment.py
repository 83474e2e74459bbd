"""Passwords come from the environment, and go nowhere else."""

import pytest

from pipelines.environment import Environment, secret_in
from tsforecast.errors import RecipeError


def test_names_are_filled_in_and_hidden_again() -> None:
    environment = Environment({"DB": "store", "PW": "s3cret"})
    assert environment.fill("sqlite:///${DB}/x.db", field="source.url") == "sqlite:///store/x.db"
    assert environment.fill("postgresql://u:${PW}@h/${DB}", field="source.url") == "postgresql://u:s3cret@h/store"
    assert environment.hide("cannot log in with s3cret at h/store") == "cannot log in with ${PW} at h/${DB}"


def test_a_password_with_signs_of_its_own_is_encoded_in_the_login_only_and_hidden_in_both_spellings() -> None:
    environment = Environment({"PW": "a@b/c", "PATH_TO": "a@b/c"})
    assert environment.fill("postgresql://u:${PW}@h/db", field="url") == "postgresql://u:a%40b%2Fc@h/db"
    assert environment.fill("sqlite:///${PATH_TO}/db", field="url") == "sqlite:///a@b/c/db"
    hidden = environment.hide("a%40b%2Fc or a@b/c")
    assert "a@b/c" not in hidden and "a%40b%2Fc" not in hidden


def test_a_whole_url_in_one_variable_hides_its_password_alone_too() -> None:
    environment = Environment({"URL": "postgresql://u:s3cret@h/db"})
    assert environment.fill("${URL}", field="url") == "postgresql://u:s3cret@h/db"
    assert environment.hide("FATAL: s3cret is wrong for postgresql://u:s3cret@h/db") == "FATAL: ${URL} is wrong for ${URL}"


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(RecipeError, match=r"source\.url needs the environment variable PW, which is not set; export PW=…"):
        Environment({}).fill("postgresql://u:${PW}@h/db", field="source.url")


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("postgresql://u:pw@h/db", "pw"),
        ("postgresql+psycopg://u:p%40w@h:5432/db", "p%40w"),
        ("postgresql://u:${PW}@h/db", None),
        ("postgresql://u@h/db", None),
        ("postgresql://h/db?password=pw", "pw"),
        ("postgresql://h/db?password=${PW}", None),
        ("sqlite:///some/file:name.db", None),
        ("https://h:5000", None),
    ],
)
def test_a_password_in_a_url_is_found(url: str, secret: str | None) -> None:
    assert secret_in(url) == secret


def test_an_empty_variable_counts_as_not_set() -> None:
    assert Environment({"TSF_MLRUNS": ""}).get("TSF_MLRUNS") is None
