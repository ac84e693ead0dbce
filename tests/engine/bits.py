"""Print a hash of the hidden states that the kernels under test give in each dtype, one line each."""

import hashlib

from random_models import DTYPES, kernels, make_batch, make_config, make_engine, random_texts, random_weights

CONFIG = make_config(
    hidden_size=72, num_attention_heads=3, intermediate_size=200, max_position_embeddings=300
)
BATCHES = [make_batch(random_texts(CONFIG, lengths)) for lengths in ([8], [1, 300, 33, 2], [11] * 30)]

for dtype in DTYPES:
    digest = hashlib.sha256()
    for threads in (1, 2):
        engine = make_engine(CONFIG, random_weights(CONFIG), dtype=dtype, threads=threads)
        for _, states in engine.last_hidden_states(BATCHES):
            digest.update(states.tobytes())
    print(kernels().level.name, dtype, digest.hexdigest())
