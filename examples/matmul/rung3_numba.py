"""Rung 3: the loops of rung 1, compiled by Numba to the processor's own instructions."""

import numba


@numba.njit(error_model="numpy", fastmath={"contract"})
def multiply(a, b, c):
    """C = A B: (M, K), (K, N) -> (M, N), float32."""
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            total = numba.float32(0)
            for k in range(b.shape[0]):
                total += a[i, k] * b[k, j]
            c[i, j] = total
