"""All solvers of the package."""

from eqx_qdeq import solvers as s


def solvers_at(tol: float, ladder: s.Ladder) -> dict:
    """By name, at one tolerance, with a ladder of the test's own."""
    return {
        "Picard": s.Picard(tol, tol),
        "Anderson": s.Anderson(tol, tol),
        "Broyden": s.Broyden(tol, tol),
        "Newton": s.Newton(tol, tol),
        "PseudoTransient": s.PseudoTransient(tol, tol),
        "SteadyState": s.SteadyState(tol, tol),
        "Ladder": ladder,
    }
