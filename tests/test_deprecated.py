"""Names that have changed still work, or say what to write instead."""

import importlib
import inspect

import equinox as eqx
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq import training

pytestmark = pytest.mark.float32


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("eqx_qdeq", "Limits", qdeq.SolverLimits),
        ("eqx_qdeq", "AbstractBoundCell", qdeq.AbstractPrepared),
        ("eqx_qdeq.equilibrium", "Newton", qdeq.Newton),
        ("eqx_qdeq.equilibrium", "certify", qdeq.certify),
        ("eqx_qdeq.equilibrium", "SampledDEQ", qdeq.SampledDEQ),
        ("eqx_qdeq.equilibrium", "Trajectory", qdeq.SolverTrajectory),
        ("eqx_qdeq.training", "Normalise", training.Normalize),
        ("eqx_qdeq.training.data", "Normalise", training.Normalize),
    ],
)
def test_old_names_warn_and_work(module, old, new):
    with pytest.warns(DeprecationWarning, match=rf"`{module}\.{old}` is now `eqx_qdeq\.[\w.]+`"):
        found = getattr(importlib.import_module(module), old)
    assert found is new


def test_names_that_never_were_are_no_names():
    for module in (qdeq, qdeq.equilibrium):
        with pytest.raises(AttributeError, match="has no attribute 'Newtom'"):
            module.Newtom  # noqa: B018


def test_old_attributes_warn_or_say_what_to_write():
    resources = qdeq.circuits.paper(4).resources()
    with pytest.warns(DeprecationWarning, match="is now `Resources.n_parametrized`"):
        assert resources.n_parametrised == resources.n_parametrized
    with pytest.raises(TypeError, match="`Mine.linearises` is spelled `linearizes`"):
        type("Mine", (qdeq.AbstractResidualSolver,), {"linearises": True})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: qdeq.Picard(1e-4, 1e-4, damping=0.5), "`Picard.damping=.*` is now `damp`"),
        (lambda: qdeq.PhantomAdjoint(damping=0.5), "`PhantomAdjoint.damping=.*` is now `damp`"),
        (lambda: qdeq.AveragedPicard(damping=0.5), "`AveragedPicard.damping=.*` is now `damp`"),
        (lambda: qdeq.Anderson(1e-4, 1e-4, history=5), "`Anderson.history=.*` is now `memory`"),
    ],
)
def test_old_arguments_say_what_to_write(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_classes_with_renamed_arguments_are_modules_as_before():
    solver = qdeq.Picard(1e-4, 1e-4, damp=0.25)
    assert eqx.tree_at(lambda s: s.damp, solver, 0.5).damp == 0.5
    assert inspect.signature(qdeq.Picard).parameters["damp"].default == 0.0
