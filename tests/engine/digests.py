"""Print a hash of the hidden states that the kernels under test give in each dtype, one line each."""

import hashlib
from collections.abc import Iterator

from random_models import DTYPES, kernels, make_batch, make_config, random_texts, random_weights, spec

from minigte.engine.kernels import Kernels
from minigte.engine.scheduler import Engine

CONFIG = make_config(
    hidden_size=72, num_attention_heads=3, intermediate_size=200, max_position_embeddings=300
)
BATCHES = [make_batch(random_texts(CONFIG, lengths)) for lengths in ([8], [1, 300, 33, 2], [11] * 30)]


def digests(kernels: Kernels, threads: int) -> Iterator[str]:
    """The lines for these kernels."""
    for dtype in DTYPES:
        digest = hashlib.sha256()
        engine = Engine(spec(CONFIG), random_weights(CONFIG), kernels, dtype=dtype, threads=threads)
        for _, states in engine.last_hidden_states(BATCHES):
            digest.update(states.tobytes())
        yield f"{kernels.level.name} {dtype} {digest.hexdigest()}"


if __name__ == "__main__":
    lines, of_two = (list(digests(kernels(), threads)) for threads in (1, 2))
    assert lines == of_two
    print("\n".join(lines))
