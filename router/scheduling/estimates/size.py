"""How large a request is, predicted from what is known before it runs.

Work is relative: 1 is the mean request of a model. Its logarithm is assumed to be linear in the
logarithms of the features (prompt tokens, requested tokens, payload bytes or rows). It is learned
per model by recursive least squares with forgetting (Haykin, *Adaptive Filter Theory*, chapter 10).
The predictor knows its own error. If it predicts a model's requests badly, that model is served
without sizes: a wrong size is worse than none.
"""

from collections.abc import Sequence
from math import exp, log, log1p
from operator import mul

FORGETTING = 0.998
PRIOR_VARIANCE = 1.0
"""How far from 0 a coefficient may be at first. It keeps constant features from mattering."""

ERROR_SMOOTHING = 0.02
MEAN_SMOOTHING = 0.005
ERROR_MAX = 0.8
"""Above this log error (standard deviation) predictions are not used."""

GAIN_MIN = 0.95
"""The error must be at most this share of the error of always guessing the mean."""

SAMPLES_MIN = 50
SAMPLES_MATURE = 500
THINNING = 4
"""A well-known model learns from one request in this many: learning is the costly part."""

WORK_MIN, WORK_MAX = 0.05, 20.0


class _ModelSize:
    """Coefficients and error of one model. Weights start at "every request is the same"."""

    def __init__(self, count: int) -> None:
        self.weights = [0.0] * count
        self.covariance = [
            [PRIOR_VARIANCE if i == j else 0.0 for j in range(count)] for i in range(count)
        ]
        self.means = [0.0] * (count - 1)
        self.seen = 0
        self.samples = 0
        self.error = 0.0
        self.blind_error = 0.0
        self.blind_mean = 0.0
        self.mean_work = 1.0

    @property
    def is_useful(self) -> bool:
        return (
            self.samples >= SAMPLES_MIN
            and self.error < ERROR_MAX**2
            and self.error < GAIN_MIN**2 * self.blind_error
        )

    def inputs(self, features: Sequence[float]) -> list[float]:
        """A constant, then the features' logarithms relative to their means."""
        about_means = zip(features, self.means, strict=True)
        return [1.0, *[log1p(max(f, 0.0)) - mean for f, mean in about_means]]

    def predicted_log(self, x: Sequence[float]) -> float:
        return sum(map(mul, self.weights, x))

    def learn(self, features: Sequence[float], work: float) -> None:
        if not self.samples:
            self.means = [log1p(max(feature, 0.0)) for feature in features]
        x, y = self.inputs(features), log(max(work, 1e-6))
        predicted = self.predicted_log(x)
        self._count(y, predicted)
        p_x = [sum(map(mul, row, x)) for row in self.covariance]
        # Forgetting must not inflate the variance in directions without data.
        spread = sum([row[i] for i, row in enumerate(self.covariance)])
        forgetting = FORGETTING if spread < PRIOR_VARIANCE * len(x) else 1.0
        scale = forgetting + sum(map(mul, x, p_x))
        gain = [value / scale for value in p_x]
        missed = y - predicted
        self.weights = [w + g * missed for w, g in zip(self.weights, gain, strict=True)]
        # px_i * px_j is the same both ways; any asymmetry would grow without bound.
        self.covariance = [
            [(value - a * b / scale) / forgetting for value, b in zip(row, p_x, strict=True)]
            for row, a in zip(self.covariance, p_x, strict=True)
        ]
        rate = max(MEAN_SMOOTHING, 1 / self.samples)
        self.mean_work += rate * (exp(predicted) - self.mean_work)

    def _count(self, y: float, predicted: float) -> None:
        self.samples += 1
        rate = max(ERROR_SMOOTHING, 1 / self.samples)
        self.error += rate * ((y - predicted) ** 2 - self.error)
        self.blind_error += rate * ((y - self.blind_mean) ** 2 - self.blind_error)
        self.blind_mean += rate * (y - self.blind_mean)


class SizePredictor:
    """One small regression per model."""

    def __init__(self) -> None:
        self._models: dict[str, _ModelSize] = {}

    def predict(self, model: str, features: Sequence[float]) -> float:
        """The work of a request with these features; 1 until something better is known."""
        known = self._models.get(model)
        if known is None or len(known.weights) != len(features) + 1 or not known.is_useful:
            return 1.0
        work = exp(known.predicted_log(known.inputs(features))) / known.mean_work
        return min(max(work, WORK_MIN), WORK_MAX)

    def observe(self, model: str, features: Sequence[float], work: float) -> None:
        """A request with these features turned out to be ``work`` units."""
        known = self._models.get(model)
        if known is None or len(known.weights) != len(features) + 1:
            known = self._models[model] = _ModelSize(len(features) + 1)
        known.seen += 1
        if known.samples < SAMPLES_MATURE or not known.seen % THINNING:
            known.learn(features, work)

    def log_error(self, model: str) -> float | None:
        """The standard deviation of the logarithm of predicted over actual; None before any."""
        known = self._models.get(model)
        return known.error**0.5 if known is not None else None
