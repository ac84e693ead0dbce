"""What follows a matrix product while its tile is near: the numbers that kernels know each finish by."""

LINEAR, RESIDUAL, GELU, GELU_10, GELU_NEW, RELU, SILU = range(7)
ACTIVATIONS = {  # by ``hidden_act``
    "gelu": GELU,
    "gelu_10": GELU_10,
    "gelu_new": GELU_NEW,
    "relu": RELU,
    "silu": SILU,
}
