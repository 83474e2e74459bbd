"""Evidence of different kinds added up: amplitude, shape and prediction see different anomalies, and no single one sees all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.models.base import About, Callback
from tsforecast.models.detector import Core, Detector, Evidence, Rows
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, IntArray

Options = tuple[tuple[str, Any], ...]
FAMILIES = (("autoencoder", "vae", "lstm_autoencoder", "pca_remainder", "window_energy"),)  # see the same: what amplitude shows
SUITED: dict[str, Options] = {"autoencoder": (("ends", False), ("second_window", None))}  # one kind of evidence a member


@dataclass(frozen=True, kw_only=True)
class Ensemble(Detector):
    """Several detectors, the evidence of each in median absolute deviations of its own, summed.

    Heavy-tailed units make the sum follow the evidence that stands out most; sums of ranks or of p-values, and maxima, lose
    that. Where there are several channels a further member looks at how they go together.
    """

    name: ClassVar[str] = "ensemble"
    about: ClassVar[About] = About(
        family="ensemble",
        scope="global",
        source="Aggarwal & Sathe 2015",
        minimal_history="43 steps of one series",
        uses=("denoise", "impute", "latent"),
    )

    members: tuple[str, ...] = ("autoencoder", "pca_remainder", "shape_neighbour", "local_level")  # names of detectors
    weights: tuple[float, ...] | None = None  # of the members, as many; None = 1 for each family: two that see the same share it
    member_options: tuple[tuple[str, Options], ...] | None = None  # by name, a table in recipes; None = what suits the members
    across: str | None = "channel_pca"  # detector that is a member besides, where there are several channels; None = none

    def __post_init__(self) -> None:
        from tsforecast.models.registry import build_detector

        if isinstance(self.member_options, Mapping):
            given = tuple((name, tuple(sorted(dict(options).items()))) for name, options in self.member_options.items())
            object.__setattr__(self, "member_options", given)
        if not self.members or self.name in self.members or len(set(self.members)) < len(self.members):
            raise OptionError(
                f"members must be different detectors, none of them an ensemble, got {self.members!r}", field="members"
            )
        if self.weights is not None and (len(self.weights) != len(self.members) or not all(one > 0 for one in self.weights)):
            message = f"weights must be positive, one for each of the {len(self.members)} members, got {self.weights!r}"
            raise OptionError(message, field="weights")
        if self.across == self.name:
            raise OptionError("across must be another detector, not an ensemble", field="across")
        possible = self.names(channels=2)
        stray = [name for name, _ in self.member_options or () if name not in possible]
        if stray:
            raise OptionError(f"member_options has options for {stray[0]!r}, which is no member", field="member_options")
        for name in possible:
            build_detector(name, **self._options(name))

    def _options(self, name: str) -> dict[str, Any]:
        return dict(dict(SUITED if self.member_options is None else self.member_options).get(name, ()))

    def names(self, *, channels: int) -> tuple[str, ...]:
        """The members for series of so many channels."""
        if channels == 1 or self.across is None or self.across in self.members:
            return self.members
        return (*self.members, self.across)

    def recipes(self, *, channels: int) -> tuple[Detector, ...]:
        """The same, as recipes."""
        from tsforecast.models.registry import build_detector

        return tuple(build_detector(name, **self._options(name)) for name in self.names(channels=channels))

    def member_weights(self, *, channels: int) -> tuple[float, ...]:
        """Of the members, as given, 1 for that across channels; else members of one family share its weight of 1."""
        names = self.names(channels=channels)
        if self.weights is not None:
            return self.weights + (1.0,) * (len(names) - len(self.weights))
        family = {name: number for number, alike in enumerate(FAMILIES) for name in alike}
        owner = [family.get(name, name) for name in names]
        return tuple(1.0 / owner.count(one) for one in owner)

    @classmethod
    def tiny(cls) -> Self:
        small = (("window", 16), ("second_window", None), ("latent", 4), ("hidden", (16,)))
        return cls(members=("autoencoder", "window_energy"), member_options=(("autoencoder", small),))

    @classmethod
    def core_class(cls) -> "type[EnsembleCore]":
        return EnsembleCore

    def learn(
        self, series: Sequence[Rows], *, seed: int, train: TrainConfig | None, callbacks: Sequence[Callback]
    ) -> tuple["EnsembleCore", dict[str, Any]]:
        channels = max((rows.values.shape[1] for rows in series), default=1)
        recipes = self.recipes(channels=channels)
        learnt = []
        for recipe in recipes:
            own = train
            if train is not None and train.checkpoint_dir is not None:  # members have networks of the same names
                own = replace(train, checkpoint_dir=f"{train.checkpoint_dir}/{recipe.name}")
            learnt.append(recipe.learn(series, seed=seed, train=own, callbacks=callbacks))
        training = {recipe.name: said for recipe, (_, said) in zip(recipes, learnt, strict=True)}
        return EnsembleCore(self, [core for core, _ in learnt], channels=channels), training


class EnsembleCore(Core):
    """The cores of the members."""

    def __init__(self, recipe: Ensemble, cores: Sequence[Core], *, channels: int) -> None:
        self.recipes, self.cores = recipe.recipes(channels=channels), tuple(cores)
        pairs = zip(self.recipes, self.cores, strict=True)
        self.kinds = tuple(f"{member.name}: {kind}" for member, core in pairs for kind in core.kinds)
        shares = zip(recipe.member_weights(channels=channels), self.cores, strict=True)
        self.weights = tuple(weight for weight, core in shares for _ in core.kinds)
        self.reach, self.delay = max(core.reach for core in self.cores), max(core.delay for core in self.cores)
        self.width = max(core.width for core in self.cores)

    def judge_from(self, share: float) -> None:
        super().judge_from(share)
        for core in self.cores:
            core.judge_from(share)

    def evidence(self, rows: Rows) -> Evidence:
        return self._joined([core.evidence(rows) for core in self.cores])

    def evidence_alone(self, rows: Rows) -> Evidence:
        return self._joined([core.evidence_alone(rows) for core in self.cores])

    def _joined(self, found: Sequence[Evidence]) -> Evidence:
        return Evidence(
            causal=np.concatenate([one.causal for one in found]),
            revised=np.concatenate([one.revised for one in found]),
            expected=_first_known([one.expected for one in found]),
            revised_expected=_first_known([one.revised_expected for one in found]),
        )

    def causal(self, rows: Rows, newest: int) -> tuple[FloatArray, FloatArray]:
        found = [core.causal(rows, newest) for core in self.cores]
        return np.concatenate([one for one, _ in found]), _first_known([expected for _, expected in found])

    def _able(self, use: str) -> Core:
        able = [core for member, core in zip(self.recipes, self.cores, strict=True) if use in member.about.uses]
        if not able:
            names = ", ".join(member.name for member in self.recipes)
            raise OptionError(f"no member of this ensemble, {names}, can {use}", field="members")
        return able[0]

    def reconstructions(self, rows: Rows) -> list[FloatArray]:
        return self._able("impute").reconstructions(rows)

    def encode(self, rows: Rows, *, every: int) -> tuple[IntArray, FloatArray]:
        return self._able("latent").encode(rows, every=every)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays: dict[str, np.ndarray] = {}
        values = {}
        for member, core in zip(self.recipes, self.cores, strict=True):
            own, values[member.name] = core.state()
            arrays |= {f"{member.name}.{key}": array for key, array in own.items()}
        return arrays, values

    @classmethod
    def from_state(cls, recipe: Detector, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "EnsembleCore":
        if not isinstance(recipe, Ensemble):
            raise TypeError(f"{recipe.name} has no members")
        channels = 1 if len(values) == len(recipe.members) else 2  # one or several: whether there is a member across them
        cores = []
        for member in recipe.recipes(channels=channels):
            prefix = f"{member.name}."
            own = {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}
            cores.append(member.core_class().from_state(member, own, values[member.name]))
        return cls(recipe, cores, channels=channels)


def _first_known(expected: Sequence[FloatArray]) -> FloatArray:
    """What the first member that expects something expects, (T, C)."""
    found = expected[0].copy()
    for one in expected[1:]:
        found = np.where(np.isfinite(found), found, one)
    return found
