import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tsforecast
from service.app import store_of
from service.model_store import FolderStore, Reference, RegistryStore, StoredModel
from service.settings import Settings
from tests.service.fakes import panel_of, ramp_flow
from tsforecast.errors import ArtifactError, UnknownModel
from tsforecast.flow import FittedFlow


def naive(*, horizon: int = 3) -> FittedFlow:
    return FittedFlow(predictor=tsforecast.build_model("seasonal_naive").fit(panel_of(range(20)), horizon=horizon))


def test_a_reference_is_a_name_an_alias_or_a_version() -> None:
    assert Reference.parse("co2 weekly") == Reference(name="co2 weekly")
    assert Reference.parse("co2@champion") == Reference(name="co2", alias="champion")
    assert Reference.parse("co2/3") == Reference(name="co2", version="3")


@pytest.mark.parametrize("text", ["", "@champion", "co2@", "co2/", "co2/3/4", "co2@a/3", "a\nb", "x" * 300])
def test_what_is_no_reference_is_refused_without_being_repeated_at_length(text: str) -> None:
    with pytest.raises(UnknownModel, match="names no model; write name, name@alias or name/version") as caught:
        Reference.parse(text)
    assert len(str(caught.value)) < 200


def test_a_folder_of_models_serves_each_under_the_name_of_its_folder(tmp_path: Path) -> None:
    naive().save(tmp_path / "shops")
    naive(horizon=9).save(tmp_path / "depots")
    (tmp_path / "notes").mkdir()
    store = FolderStore(tmp_path)
    assert store.names() == ["depots", "shops"]
    found = store.resolve("depots")
    assert found == StoredModel(
        name="depots",
        version=found.version,
        architecture="seasonal_naive",
        horizon=9,
        freq="D",
        season=7,
        trained_until="2024-01-20T00:00:00",
    )
    assert store.resolve(f"depots/{found.version}") == found
    assert store.versions("depots") == [found]
    assert store.load(found).facts.horizon == 9


def test_a_folder_that_is_a_model_itself_serves_it(tmp_path: Path) -> None:
    naive().save(tmp_path / "shops")
    assert FolderStore(tmp_path / "shops").names() == ["shops"]


def test_the_version_of_a_folder_changes_with_the_model_and_only_then(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    naive().save(tmp_path / "shops")
    first = store.resolve("shops").version
    shutil.copytree(tmp_path / "shops", tmp_path / "copy")
    assert store.resolve("copy").version == first
    naive(horizon=4).save(tmp_path / "shops")
    assert store.resolve("shops").version != first


def test_a_model_replaced_while_it_is_read_is_not_served_under_the_old_version(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    naive().save(tmp_path / "shops")
    stored = store.resolve("shops")
    naive(horizon=4).save(tmp_path / "shops")
    with pytest.raises(ArtifactError, match="model 'shops' changed while it was read; it will be read again"):
        store.load(stored)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nope", "no model 'nope' is stored; stored: shops"),
        ("shops@champion", "models in folders have no aliases; ask for 'shops' instead of 'shops@champion'"),
        ("shops/1", "model 'shops' has version '.*' only, not '1'"),
        ("../shops", r"no model '\.\.' is stored"),
    ],
)
def test_a_reference_that_a_folder_cannot_answer_says_what_there_is(tmp_path: Path, reference: str, message: str) -> None:
    naive().save(tmp_path / "shops")
    with pytest.raises(UnknownModel, match=message):
        FolderStore(tmp_path).resolve(reference)


def test_a_missing_folder_and_a_damaged_manifest_say_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"TSF_MODEL_DIR cannot be read: .* name a folder that predictor\.save wrote"):
        FolderStore(tmp_path / "nowhere").names()
    (tmp_path / "shops").mkdir()
    (tmp_path / "shops" / "manifest.json").write_text('{"model": "gru"}')
    with pytest.raises(
        ArtifactError, match=r"manifest\.json of .* 'shops' is damaged: KeyError\('facts'\); copy the model again"
    ):
        FolderStore(tmp_path).resolve("shops")


class FakeTracker:
    """Knows one version of one model; the MLflow registry is asked for real in test_registry.py."""

    def __init__(self) -> None:
        facts = {"horizon": 24, "freq": "h", "season": 24, "trained_until": "2024-05-01T00:00:00"}
        self.version: Any = SimpleNamespace(
            name="co2", version=3, task="forecast", aliases=("champion",), model="gru", scores={"mase": 0.7}, **facts
        )
        self.flow = ramp_flow()

    def names(self) -> list[str]:
        return ["co2"]

    def versions(self, name: str) -> list[Any]:
        return [self.version]

    def resolve(self, reference: str) -> Any:
        return self.version

    def load(self, reference: str) -> tuple[FittedFlow, Any]:
        assert reference == "co2/3", "a version has to be pinned: an alias may have moved since it was resolved"
        return self.flow, self.version


def test_the_registry_is_connected_to_once_and_only_when_asked() -> None:
    tracker, contacts = FakeTracker(), []
    store = RegistryStore(lambda: contacts.append(1) or tracker)  # type: ignore[func-returns-value, return-value, arg-type]
    assert contacts == []
    stored = store.resolve("co2")
    assert store.load(stored) is tracker.flow
    assert (contacts, store.names()) == ([1], ["co2"])
    assert stored == StoredModel(
        name="co2",
        version="3",
        aliases=("champion",),
        architecture="gru",
        horizon=24,
        freq="h",
        season=24,
        trained_until="2024-05-01T00:00:00",
        scores={"mase": 0.7},
    )


def test_what_the_registry_does_not_know_is_none_and_not_zero() -> None:
    tracker = FakeTracker()
    unknown = {"model": "", "horizon": 0, "freq": "", "season": 0, "trained_until": ""}
    tracker.version = SimpleNamespace(**vars(tracker.version) | unknown)
    stored = RegistryStore(lambda: tracker).versions("co2")[0]  # type: ignore[arg-type, return-value]
    assert (stored.architecture, stored.horizon, stored.freq, stored.season, stored.trained_until) == (None,) * 5


def test_a_model_folder_in_the_settings_goes_before_the_registry(tmp_path: Path) -> None:
    assert isinstance(store_of(Settings()), RegistryStore)
    assert isinstance(store_of(Settings(model_dir=str(tmp_path))), FolderStore)
