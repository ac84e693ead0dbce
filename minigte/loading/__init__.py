"""A model's name to its folder, and the folder to a configuration and weights, each file checked."""
