"""How training windows are changed, as data: read by recipes, needed before torch is loaded. `nn/augment.py` does it.

Each augmentation takes a part of the windows of a batch and treats the context and the steps ahead of a window as one curve.
What was not observed stays unobserved. "Scales" are units of the window itself: the robust deviation of its context, in the
logarithm where the series has no negative values (see `WindowScale`), so that one number fits series of all sizes.
"""

from dataclasses import dataclass, fields
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, get_args

from tsforecast.errors import OptionError, did_you_mean

if TYPE_CHECKING:
    import torch

    from tsforecast.nn.window_network import WindowBatch

LARGEST = 10.0  # deviations beyond it would leave nothing of a window
WIDEST = 1_000_000  # steps of a block, and knots of a curve


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What all have in common; use one of those below."""

    name: str = ""  # in recipes and in AUGMENTATIONS
    share: float = 0.5  # of the windows of a batch that are changed, drawn anew for each batch

    def __post_init__(self) -> None:
        known = AUGMENTATIONS.get(self.name)
        if known is not type(self):
            raise OptionError(f"name of {type(self).__name__} cannot be {self.name!r}; leave it out", field="name")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in WHOLE and not (value is None and field.default is None):
                _check_whole(field.name, value)
            elif field.name in HIGHEST:
                _check_between(field.name, value)

    def apply(
        self, batch: "WindowBatch", generator: "torch.Generator", *, season: int = 1, series: "torch.Tensor | None" = None
    ) -> "WindowBatch":
        """A batch in which some windows are changed; `batch` itself is left alone. See `nn.augment.augment`."""
        from tsforecast.nn.augment import augment  # loads torch

        return augment(batch, (self,), generator, season=season, series=series)


@dataclass(frozen=True, kw_only=True, slots=True)
class Jitter(Augmentation):
    """Normal noise, independent at each step."""

    name: Literal["jitter"] = "jitter"
    size: float = 0.1  # standard deviation, scales


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling(Augmentation):
    """One positive factor for all steps of a window.

    A network that brings each window to size one itself does not see it, but for static features, the linear effects of
    covariates and heads of counts; it is for `scaling = "none"`, and for models that read the size of a window, as deepar does.
    """

    name: Literal["scaling"] = "scaling"
    size: float = 0.2  # standard deviation of the factor's logarithm


@dataclass(frozen=True, kw_only=True, slots=True)
class MagnitudeWarp(Augmentation):
    """The distance from the level of the window times a smooth random curve around 1 (Um et al. 2017)."""

    name: Literal["magnitude_warp"] = "magnitude_warp"
    size: float = 0.2  # standard deviation of the curve
    knots: int = 4  # random values of the curve, evenly from the first step to the last, at least 2


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeWarp(Augmentation):
    """Time runs faster here and slower there; first and last step stay (Um et al. 2017).

    Values between two steps are interpolated, and missing where one of the two is. Covariates are bent alike; past
    covariates stand still where they would have to be read beyond the origin.
    """

    name: Literal["time_warp"] = "time_warp"
    size: float = 0.2  # standard deviation of the speed's logarithm
    knots: int = 4  # random speeds, evenly from the first step to the last, at least 2


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSlice(Augmentation):
    """A random part of the window, stretched over all of it (Le Guennec et al. 2016). Covariates as in `TimeWarp`."""

    name: Literal["window_slice"] = "window_slice"
    kept: float = 0.9  # length of the part, as a share of the window


@dataclass(frozen=True, kw_only=True, slots=True)
class Masking(Augmentation):
    """Hides steps of the context, at random places; the steps ahead stay."""

    name: Literal["masking"] = "masking"
    missing: float = 0.15  # share of the steps of the context that is hidden, on average
    block: int = 1  # steps hidden in a row


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixup(Augmentation):
    """A weighted mean with a window of another series, each in its own scales, without logarithm (Zhang et al. 2018).

    The own part is the larger one. Observed is what both have observed. Covariates are mixed alike; static features and
    categories stay the window's own. A batch of one series is left as it is.
    """

    name: Literal["mixup"] = "mixup"
    other: float = 0.4  # largest weight of the other window; drawn evenly from 0 to it, at most 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class SeasonalBootstrap(Augmentation):
    """The same trend and season with a remainder put together anew from random blocks of it (Bergmeir et al. 2016).

    Trend: moving average over a season; season: mean of each phase; without a season in the window the trend alone.
    """

    name: Literal["seasonal_bootstrap"] = "seasonal_bootstrap"
    block: int | None = None  # steps; None = two seasons


@dataclass(frozen=True, kw_only=True, slots=True)
class FrequencyNoise(Augmentation):
    """Amplitudes and phases of random frequencies are changed; the mean and the straight line through the window stay."""

    name: Literal["frequency_noise"] = "frequency_noise"
    bins: float = 0.5  # share of the frequencies that are changed
    size: float = 0.2  # standard deviation of the amplitude, as a share of it
    phase: float = 0.2  # standard deviation of the phase, radians


AnyAugmentation = Jitter | Scaling | MagnitudeWarp | TimeWarp | WindowSlice | Masking | Mixup | SeasonalBootstrap | FrequencyNoise
AUGMENTATIONS: dict[str, type[Augmentation]] = {
    kind.__dataclass_fields__["name"].default: kind for kind in get_args(AnyAugmentation)
}
WHOLE = {"knots": 2, "block": 1}  # option -> its least value
HIGHEST = {"share": 1.0, "size": LARGEST, "phase": LARGEST, "bins": 1.0, "kept": 1.0, "missing": 0.9, "other": 0.5}
LOWEST = {"kept": 0.1}  # the others begin at 0


def build_augmentation(name: str, **options: Any) -> AnyAugmentation:
    """The augmentation called `name` in AUGMENTATIONS.

    Raises:
        OptionError: no augmentation or no option of that name, or a value out of range.
    """
    if name not in AUGMENTATIONS:
        raise OptionError(
            f"no augmentation {name!r}{did_you_mean(name, AUGMENTATIONS)}; there are {', '.join(AUGMENTATIONS)}", field="name"
        )
    known = [field.name for field in fields(AUGMENTATIONS[name]) if field.name != "name"]
    for option in options:
        if option not in known:
            raise OptionError(
                f"augmentation {name!r} has no option {option!r}{did_you_mean(option, known)}; options: {', '.join(known)}",
                field=option,
            )
    built: AnyAugmentation = AUGMENTATIONS[name](**options)  # type: ignore[assignment]  # the table holds these classes only
    return built


def check_augmentations(values: object, field: str) -> None:
    """Refuse what is no tuple of augmentations."""
    if not isinstance(values, tuple) or not all(isinstance(value, Augmentation) for value in values):
        raise OptionError(
            f"{field} must be a tuple of augmentations, such as (build_augmentation('jitter', size=0.1),), got {values!r}",
            field=field,
        )


def _check_whole(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not WHOLE[name] <= value <= WIDEST:
        raise OptionError(f"{name} must be a whole number from {WHOLE[name]} to {WIDEST}, got {value!r}", field=name)


def _check_between(name: str, value: object) -> None:
    low, high = LOWEST.get(name, 0.0), HIGHEST[name]
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= float(value) <= high:
        raise OptionError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}", field=name)
