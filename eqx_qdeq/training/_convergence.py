"""Solves that did not converge are said so, once, to whoever does not ask."""

import sys
import warnings
from typing import Any

from ._metrics import Report


class ConvergenceWarning(UserWarning):
    """Equilibria of some samples were not found: from [`eqx_qdeq.training.evaluate`][]; and from
    [`eqx_qdeq.training.fit`][], after the first epoch in which more than 1 % were not, or at the
    end if there are any among the validation samples of the best model.

    The loss is then finite all the same, and the model may even be good; but what it computes for
    these samples is where the solver gave up, and depends on the solver and its `max_steps`. A
    model that is unrolled on purpose does not warn. To turn it off, or into an error:

    ```python
    import warnings
    from eqx_qdeq import training

    warnings.simplefilter("ignore", training.ConvergenceWarning)
    ```
    """


def warn_unconverged(
    model: Any,
    report: Report,
    samples: str,
    fraction_converged: float | None,
    residual_max: float | None,
) -> bool:
    """Warns if some solves failed, and says whether they did."""
    # Nothing is solved in an unrolled model: its residual is a result, not a failure.
    if fraction_converged is None or not report.sought or fraction_converged >= 1:
        return False
    deq, x = ("model.deq", "x") if hasattr(model, "deq") else ("deq", "what_it_is_given")
    warnings.warn(
        f"for {100 * (1 - fraction_converged):.3g}% of the {samples} no equilibrium was found; the "
        f"largest residual ‖f(z) - z‖ is {residual_max:.1e}. What is computed for them is where "
        "the solver stopped. To try: features of norm 1 or more (training.unit_norm_preprocess), "
        "a smaller `gain`, `jacobian_penalty` in training, another solver or more `max_steps`; "
        f"`print(jax.vmap({deq}.diagnose)({x}))` shows what is wrong. To turn this off: "
        "`warnings.simplefilter('ignore', training.ConvergenceWarning)`.",
        ConvergenceWarning,
        _stack_level(),
    )
    return True


def warn_unseen(report: Report) -> None:
    """Says that some solves cannot be told of."""
    if report.unseen:
        warnings.warn(
            f"solves inside {', '.join(report.unseen)} are not seen: whether they find their "
            "equilibrium is not known, and the numbers about solves are of the others.",
            ConvergenceWarning,
            _stack_level(),
        )


def _stack_level() -> int:
    """How far up the caller is who is not of this package: the line that a warning should show."""
    frame, level = sys._getframe(1), 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith("eqx_qdeq."):
        frame, level = frame.f_back, level + 1
    return level
