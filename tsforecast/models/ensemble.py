"""Evidence of different kinds added up: amplitude, shape and prediction see different anomalies, and no single one sees all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.models.base import About, Callback
from tsforecast.models.detector import Core, Detector, Evidence, Rows
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, IntArray

Options = tuple[tuple[str, Any], ...]
SUITED: dict[str, Options] = {"autoencoder": (("ends", False), ("second_window", None))}  # one kind of evidence a member


@dataclass(frozen=True, kw_only=True)
class Ensemble(Detector):
    """Several detectors, the evidence of each in median absolute deviations of its own, summed.

    Heavy-tailed units make the sum follow the evidence that stands out most; sums of ranks or of p-values, and maxima, lose
    that.
    """

    name: ClassVar[str] = "ensemble"
    about: ClassVar[About] = About(
        family="ensemble",
        scope="global",
        source="Aggarwal & Sathe 2015",
        minimal_history="43 steps of one series",
        uses=("denoise", "impute", "latent"),
    )

    members: tuple[str, ...] = ("autoencoder", "shape_neighbour", "local_level")  # names of detectors
    member_options: tuple[tuple[str, Options], ...] | None = None  # by name, a table in recipes; None = what suits the members

    def __post_init__(self) -> None:
        from tsforecast.models.registry import build_detector

        if isinstance(self.member_options, Mapping):
            given = tuple((name, tuple(sorted(dict(options).items()))) for name, options in self.member_options.items())
            object.__setattr__(self, "member_options", given)
        if not self.members or self.name in self.members or len(set(self.members)) < len(self.members):
            raise OptionError(
                f"members must be different detectors, none of them an ensemble, got {self.members!r}", field="members"
            )
        stray = [name for name, _ in self.member_options or () if name not in self.members]
        if stray:
            raise OptionError(f"member_options has options for {stray[0]!r}, which is no member", field="member_options")
        for name in self.members:
            build_detector(name, **self._options(name))

    def _options(self, name: str) -> dict[str, Any]:
        return dict(dict(SUITED if self.member_options is None else self.member_options).get(name, ()))

    def recipes(self) -> tuple[Detector, ...]:
        """The members."""
        from tsforecast.models.registry import build_detector

        return tuple(build_detector(name, **self._options(name)) for name in self.members)

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
        learnt = [recipe.learn(series, seed=seed, train=train, callbacks=callbacks) for recipe in self.recipes()]
        training = dict(zip(self.members, (said for _, said in learnt), strict=True))
        return EnsembleCore(self, [core for core, _ in learnt]), training


class EnsembleCore(Core):
    """The cores of the members."""

    def __init__(self, recipe: Ensemble, cores: Sequence[Core]) -> None:
        self.recipe, self.cores = recipe, tuple(cores)
        named = zip(recipe.members, self.cores, strict=True)
        self.kinds = tuple(f"{name}: {kind}" for name, core in named for kind in core.kinds)
        self.reach, self.delay = max(core.reach for core in self.cores), max(core.delay for core in self.cores)
        self.width = max(core.width for core in self.cores)

    def evidence(self, rows: Rows) -> Evidence:
        found = [core.evidence(rows) for core in self.cores]
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
        pairs = zip(self.recipe.recipes(), self.cores, strict=True)
        able = [core for recipe, core in pairs if use in recipe.about.uses]
        if not able:
            raise OptionError(f"no member of this ensemble, {', '.join(self.recipe.members)}, can {use}", field="members")
        return able[0]

    def reconstruct(self, rows: Rows) -> FloatArray:
        return self._able("denoise").reconstruct(rows)

    def reconstructions(self, rows: Rows) -> list[FloatArray]:
        return self._able("impute").reconstructions(rows)

    def encode(self, rows: Rows, *, every: int) -> tuple[IntArray, FloatArray]:
        return self._able("latent").encode(rows, every=every)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays: dict[str, np.ndarray] = {}
        values = {}
        for name, core in zip(self.recipe.members, self.cores, strict=True):
            own, values[name] = core.state()
            arrays |= {f"{name}.{key}": array for key, array in own.items()}
        return arrays, values

    @classmethod
    def from_state(cls, recipe: Detector, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "EnsembleCore":
        if not isinstance(recipe, Ensemble):
            raise TypeError(f"{recipe.name} has no members")
        cores = []
        for name, member in zip(recipe.members, recipe.recipes(), strict=True):
            own = {key[len(name) + 1 :]: array for key, array in arrays.items() if key.startswith(f"{name}.")}
            cores.append(member.core_class().from_state(member, own, values[name]))
        return cls(recipe, cores)


def _first_known(expected: Sequence[FloatArray]) -> FloatArray:
    """What the first member that expects something expects, (T, C)."""
    found = expected[0].copy()
    for one in expected[1:]:
        found = np.where(np.isfinite(found), found, one)
    return found
