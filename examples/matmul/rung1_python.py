"""Rung 1: the textbook. Three loops in Python, over lists of numbers."""


def multiply(a: list[list[float]], b: list[list[float]], c: list[list[float]]) -> None:
    """C = A B: (M, K), (K, N) -> (M, N)."""
    for i in range(len(a)):
        for j in range(len(b[0])):
            total = 0.0
            for k in range(len(b)):
                total += a[i][k] * b[k][j]
            c[i][j] = total
