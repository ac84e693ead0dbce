"""The example of gte-small's model card: how similar the first sentence is to the others."""

from minigte import Embedder

sentences = [
    "what is the capital of China?",
    "how to implement quick sort in python?",
    "Beijing",
    "sorting algorithms",
]

embedder = Embedder("thenlper/gte-small")
vectors = embedder.encode(sentences)  # (4, 384) float32, each of length 1
scores = embedder.similarity(vectors[0], vectors[1:])[0]  # (3,) cosines

print(sentences[0])
for sentence, score in zip(sentences[1:], scores, strict=True):
    print(f"{100 * score:6.2f}  {sentence}")
