"""These tests compare with transformers and sentence-transformers themselves: without them they fail."""

import sentence_transformers  # noqa: F401
import torch  # noqa: F401
import transformers

transformers.logging.disable_progress_bar()
transformers.logging.set_verbosity_error()
