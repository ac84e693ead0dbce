"""Rung 4: the same loops in another order, so that neighbours in memory are used one after the other."""

import numba


@numba.njit(error_model="numpy", fastmath={"contract"})
def multiply(a, b, c):
    """C = A B: (M, K), (K, N) -> (M, N), float32."""
    for i in range(a.shape[0]):
        c[i] = 0
        for k in range(b.shape[0]):
            for j in range(b.shape[1]):
                c[i, j] += a[i, k] * b[k, j]
