"""The servers that people write themselves: FastAPI over sentence-transformers, or over fastembed.

As in their tutorials: one model, one plain function, which FastAPI runs in its pool of threads.
"""

from __future__ import annotations

import argparse
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Request(BaseModel):
    """OpenAI's request, as far as it goes."""

    input: str | list[str]
    model: str = ""


def sentence_transformers(folder: str) -> Any:
    """Texts to lists of floats."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    return lambda texts: model.encode(texts).tolist()


def fastembed(folder: str) -> Any:
    """Texts to lists of floats; ``folder`` has model.onnx, and the tokenizer's files."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    TextEmbedding.add_custom_model(
        model="gte-small",
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf="thenlper/gte-small"),
        dim=384,
        model_file="model.onnx",
    )
    model = TextEmbedding("gte-small", specific_model_path=folder)
    return lambda texts: [vector.tolist() for vector in model.embed(texts)]


def main() -> None:
    """Serve on a port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=("sentence-transformers", "fastembed"))
    parser.add_argument("folder")
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    embed = {"sentence-transformers": sentence_transformers, "fastembed": fastembed}[options.library](
        options.folder
    )
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/embeddings")
    def embeddings(request: Request) -> dict[str, Any]:
        texts = [request.input] if isinstance(request.input, str) else request.input
        rows = embed(texts)
        data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
        return {"object": "list", "data": data, "model": request.model}

    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
