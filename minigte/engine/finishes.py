"""What follows a matrix product while its tile is near: the numbers that kernels know each finish by."""

LINEAR, RESIDUAL, ROTATE, GELU, GELU_10, GELU_NEW, RELU, SILU = range(8)
ACTIVATIONS = {  # by ``hidden_act``
    "gelu": GELU,
    "gelu_10": GELU_10,
    "gelu_new": GELU_NEW,
    "relu": RELU,
    "silu": SILU,
}

# Added to an activation's number: a panel's first vector is activated and multiplied by its second.
GATED = 16
