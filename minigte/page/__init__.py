"""A model as a web page: the kernels as WebAssembly, the weights, and what a reader does with them."""
