"""What follows a matrix product while its tile is near: the numbers that kernels know each finish by."""

LINEAR, RESIDUAL, GELU, GELU_NEW, RELU = range(5)
ACTIVATIONS = {"gelu": GELU, "gelu_new": GELU_NEW, "relu": RELU}  # by ``hidden_act``
