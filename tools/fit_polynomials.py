"""Fit the polynomials of minigte/engine/activations.py and print them with their errors.

    python tools/fit_polynomials.py

Lawson's algorithm: least squares, its weights multiplied by the error again and again, tends to the fit
with the smallest maximal error. C. L. Lawson 1961, "Contributions to the theory of linear least maximum
approximations".
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

Float64 = npt.NDArray[np.float64]


def fit(u: Float64, target: Float64, importance: Float64, degree: int) -> tuple[Float64, float]:
    """Coefficients, lowest power first, of the polynomial in u in [-1, 1], and max |importance * error|."""
    basis = chebyshev.chebvander(u, degree)  # well conditioned, unlike powers of u
    weights = np.full(len(u), 1 / len(u))
    best: Float64 = np.zeros(degree + 1)
    smallest = math.inf
    for _ in range(500):
        rows = np.sqrt(weights) * importance
        coefficients = np.linalg.lstsq(basis * rows[:, None], target * rows)[0]
        errors = np.abs((basis @ coefficients - target) * importance)
        if errors.max() < smallest:
            best, smallest = np.asarray(chebyshev.cheb2poly(coefficients), np.float64), float(errors.max())
        weights *= errors
        weights /= weights.sum()
    return best, smallest


def normal_cdf() -> tuple[Float64, float]:
    """(Φ(x) - 1/2) / x for 0 < x <= 5.25 in u = 2 (x/5.25)² - 1; weighed by x², the error of x Φ(x)."""
    x = np.linspace(1e-4, 5.25, 4001)
    target = np.array([math.erf(v / math.sqrt(2)) / 2 / v for v in x])
    return fit(2 * (x / 5.25) ** 2 - 1, target, x * x, 14)


def power_of_two() -> tuple[Float64, float]:
    """2^f for -1/2 <= f <= 1/2, in powers of f; weighed for the relative error."""
    f = np.linspace(-0.5, 0.5, 4001)
    coefficients, error = fit(2 * f, 2**f, 2**-f, 5)
    return coefficients * 2.0 ** np.arange(6), error


def main() -> None:
    """Fit both, and print."""
    for function in (normal_cdf, power_of_two):
        coefficients, error = function()
        print(f"{function.__name__}: max error {error:.1e}, lowest power first")
        print("    " + ", ".join(f"{c:.9g}" for c in coefficients))


if __name__ == "__main__":
    main()
