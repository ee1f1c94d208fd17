"""The base of all methods, and their functional form `explain`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from igbench.core import callers
from igbench.core.arguments import Checked
from igbench.core.batch import Batch, Method
from igbench.core.content import ByContent
from igbench.core.features import check_unit, resolve
from igbench.core.inference import full_precision
from igbench.core.outputs import Output, Target, as_target
from igbench.core.probe import check_target, probe
from igbench.core.score import Score, frozen
from igbench.errors import check_finite, check_whole
from igbench.schema import MethodSpec


class BaseMethod(ByContent, Checked):
    """Metadata of a method; subclasses are frozen dataclasses that map a `Batch` to (N, *F).

    Class attributes, or fields where they depend on the object:

        label: Title in tables, a format string over the fields ("IDGI ({steps} steps)").
        reference: Paper, with the equation where there is one.
        kind, signed, role, needs_gradient: See `igbench.schema.MethodSpec`.
        looks_inside: Whether the cost depends on layers of the model, as on their channels.
        foldable: Whether it takes values and gradients of `batch.score` alone, and asks nothing of
            layers, so that a folded copy of the model may stand in, see `igbench.core.fold`.
    """

    label: str
    reference: str
    kind: Literal["global", "local"] = "global"
    signed: bool = True
    role: Literal["method", "oracle", "control", "ceiling"] = "method"
    needs_gradient: bool = True
    looks_inside: ClassVar[bool] = False
    foldable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check every argument.

        Raises:
            InputError: One has another type than its annotation, or names unknown features.
        """
        super().__post_init__()
        check_unit(getattr(self, "features", None), players=True)

    def check_fit(self, model: object, shape: tuple[int, ...]) -> None:
        """Raise, before any sample is explained, if an argument does not fit model or samples.

        Args:
            model: The model.
            shape: *F, the shape of a sample.

        Raises:
            InputError: Names the argument.
            NotDefinedError: The method has no meaning for such samples.
        """
        features = getattr(self, "features", None)
        if isinstance(features, str) and features.startswith("superpixel"):
            return
        if features is not None:
            resolve(features, shape)

    @property
    def spec(self) -> MethodSpec:
        """The definition that is kept on the record of every score."""
        title = self.label.format(**vars(self))
        return MethodSpec(
            title,
            self.reference,
            self.kind,
            self.signed,
            self.role,
            needs_gradient=self.needs_gradient,
        )


def explain(
    method: Method,
    model: nn.Module | Callable[[Tensor], Tensor],
    inputs: Any,
    *,
    target: Target = None,
    baselines: Any = 0.0,
    output: Output = "logit",
    seed: int = 0,
    sample_ids: Sequence[str] | None = None,
    batch_size: int = 32,
) -> Tensor:
    """Attribute a model's output to its inputs: the functional form of every method.

    Args:
        method: An object of `igbench.methods`, or anything else that maps a `Batch` to a map.
        model: Maps (N, *F) to (N,), or to (N, K) with `target`; a module must be in eval mode.
        inputs: (N, *F): a tensor, a NumPy array, a pandas frame or lists, as all arrays here.
        target: Class of each sample, (N,), or one number for all; for models with more axes of
            outputs, a tuple or (N, k), see `igbench.core.outputs.as_target`.
        baselines: Where the path starts, a number or a tensor that broadcasts to the inputs.
        output: Scalar that is explained: "logit", "probability" or "log_probability".
        seed: Seed of everything random.
        sample_ids: N names, with `seed` the key of everything random; 0..N-1 by default.
        batch_size: Largest number of rows in one call of the model.

    Returns:
        (N, *F), without a graph.

    Raises:
        InputError: Shapes that do not fit, a model in training mode or whose rows are not functions
            of themselves, a class that it does not have, or what the method refuses.

    >>> from igbench.methods import IntegratedGradients
    >>> def f(x):  # x_0 x_1^2, whose integral from 0 to (3, 2) gives a third and two thirds of 12
    ...     return x[:, 0] * x[:, 1] ** 2
    >>> method = IntegratedGradients(n_steps=4)
    >>> explain(method, f, [[3.0, 2.0]]).numpy().round(4).tolist()
    [[4.0, 8.0]]
    """
    check_whole("seed", seed)
    check_whole("batch_size", batch_size, least=1)
    with callers.own_modes():
        score = Score(callers.private(model), output, batch_size)
        x = callers.rows("inputs", inputs, model)
        check_finite("inputs", x)
        own_target = as_target(target, len(x), x.device)
        check_target(own_target, probe(score, x))
        start = callers.like("baselines", baselines, x)
        ids = callers.names(sample_ids, len(x))
        with frozen(score.model), full_precision(x.device):
            found = method(Batch(score, x, start, own_target, ids, seed=seed))
        return found.detach()
