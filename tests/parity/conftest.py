"""These tests compare with transformers and sentence-transformers themselves: without them they fail."""

import sentence_transformers  # noqa: F401
import torch
import transformers

torch.set_num_threads(1)  # models are tiny, and `make parity` gives each core a process

transformers.logging.disable_progress_bar()
transformers.logging.set_verbosity_error()
