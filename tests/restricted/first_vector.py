"""Print one line about a first vector: first_vector.py MODEL [DTYPE [BACKEND]].

The similarity is that of the model card's first two sentences: 0.8669 for gte-small in float32.
"""

import platform
import sys
import time

started = time.perf_counter()

import numpy as np  # noqa: E402

from minigte import Embedder  # noqa: E402

model, dtype, backend = (sys.argv[1:] + ["float32", "auto"][len(sys.argv) - 2 :])[:3]
embedder = Embedder(model, dtype=dtype, backend=backend)
a, b = embedder.encode(["what is the capital of China?", "Beijing"])
seconds = time.perf_counter() - started
print(
    f"{a @ b:.4f} ({embedder.backend_name} {embedder.backend.dtype}, Python {platform.python_version()}, "
    f"numpy {np.__version__}, {seconds:.1f} s)"
)
