"""Rung 5: four rows and four steps at a time, so that each number that is loaded is used four times."""

import numba


@numba.njit(error_model="numpy", fastmath={"contract"})
def multiply(a, b, c):
    """C = A B: (M, K), (K, N) -> (M, N), float32; M and K are multiples of 4."""
    for i in range(0, a.shape[0], 4):
        c[i : i + 4] = 0
        for k in range(0, b.shape[0], 4):
            a00, a01, a02, a03 = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
            a10, a11, a12, a13 = a[i + 1, k], a[i + 1, k + 1], a[i + 1, k + 2], a[i + 1, k + 3]
            a20, a21, a22, a23 = a[i + 2, k], a[i + 2, k + 1], a[i + 2, k + 2], a[i + 2, k + 3]
            a30, a31, a32, a33 = a[i + 3, k], a[i + 3, k + 1], a[i + 3, k + 2], a[i + 3, k + 3]
            for j in range(b.shape[1]):
                b0, b1, b2, b3 = b[k, j], b[k + 1, j], b[k + 2, j], b[k + 3, j]
                c[i, j] = c[i, j] + a00 * b0 + a01 * b1 + a02 * b2 + a03 * b3
                c[i + 1, j] = c[i + 1, j] + a10 * b0 + a11 * b1 + a12 * b2 + a13 * b3
                c[i + 2, j] = c[i + 2, j] + a20 * b0 + a21 * b1 + a22 * b2 + a23 * b3
                c[i + 3, j] = c[i + 3, j] + a30 * b0 + a31 * b1 + a32 * b2 + a33 * b3
