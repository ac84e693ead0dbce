"""Real clients, unchanged but for a base URL, against a real server; run by ``make test-clients``.

What a client hands on as float32, or as JSON numbers, must have the library's bits.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Running, running

from minigte import Embedder

# What clients warn of is theirs to mend.
pytestmark = pytest.mark.filterwarnings("default")

TEXTS = [
    "what is the capital of China?",
    "how to implement quick sort in python?",
    "Beijing is the capital of China, and has been for most of eight centuries.",
    "Übung macht den Meister; 熟能生巧。",
]
NAME = "gte-small"
OPENAI_NAME = "text-embedding-3-small"
KEY = "a-key"
NODE = Path(sys.prefix) / "node"


def cl100k() -> Path | None:
    """OpenAI's byte pairs, which llama-index ships under the name that tiktoken's cache gives them."""
    found = importlib.util.find_spec("llama_index.core")
    if found is None or found.origin is None:
        return None
    path = (
        Path(found.origin).parent / "_static" / "tiktoken_cache" / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
    )
    return path if path.exists() else None


@pytest.fixture(scope="module")
def named_model(gte_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gte-small in a folder of that name, after which it is served."""
    link = tmp_path_factory.mktemp("models") / NAME
    link.symlink_to(gte_small.resolve(), target_is_directory=True)
    return link


@pytest.fixture(scope="module")
def server(named_model: Path) -> Iterator[Running]:
    options = ["--model", str(named_model), "--api-key", KEY]
    for alias in (OPENAI_NAME, "text-embedding-ada-002", "rerank-v3.5", "jina-reranker-v1-base-en"):
        options += ["--alias", f"{alias}={NAME}"]
    path = cl100k()
    if path is not None:
        options += ["--cl100k-base", str(path)]
    with running(*options) as server:
        yield server


@pytest.fixture(scope="module")
def right(embedder: Embedder) -> np.ndarray:
    return embedder.encode(TEXTS)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No client may ask for anything outside, or follow a proxy to it."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "false")
    monkeypatch.setenv("ANONYMIZED_TELEMETRY", "false")
    path = cl100k()
    if path is not None:
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(path.parent))


def same(got: Any, right: np.ndarray) -> None:
    np.testing.assert_array_equal(np.array(got, np.float32), right)


def test_openai_for_python(server, right):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY)
    answer = client.embeddings.create(model=NAME, input=TEXTS)  # in base64: the client's own choice
    same([item.embedding for item in answer.data], right)
    answer = client.embeddings.create(model=NAME, input=TEXTS, encoding_format="float")
    same([item.embedding for item in answer.data], right)
    assert answer.usage.total_tokens > 20
    assert len(client.embeddings.create(model=OPENAI_NAME, input="a", dimensions=64).data[0].embedding) == 64
    assert NAME in [model.id for model in client.models.list()]
    assert client.models.retrieve(NAME).id == NAME
    raw = client.embeddings.with_raw_response.create(model=NAME, input="a")
    assert raw.headers["x-request-id"] == raw.parse()._request_id or raw.request_id

    async def main():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY) as client:
            answers = await asyncio.gather(
                *(client.embeddings.create(model=NAME, input=text) for text in TEXTS)
            )
            same([answer.data[0].embedding for answer in answers], right)

    asyncio.run(main())


def test_openais_own_exceptions(server):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model="nothing", input="a")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=NAME, input=["a", "cat " * 600])
    assert caught.value.code == "context_length_exceeded"
    assert "602" in caught.value.message
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).models.list()


def test_langchain_openai_sends_texts(server, right):
    openai = pytest.importorskip("langchain_openai")
    embeddings = openai.OpenAIEmbeddings(
        base_url=f"{server.url}/v1", api_key=KEY, model=NAME, check_embedding_ctx_length=False
    )
    same(embeddings.embed_documents(TEXTS), right)
    same(embeddings.embed_query(TEXTS[0]), right[0])


def test_langchain_openai_sends_ids_of_another_tokenizer(server, right):
    """Under the name of one of its models they are read as OpenAI means them; else they are refused."""
    openai = pytest.importorskip("langchain_openai")
    if cl100k() is None:
        pytest.skip("no copy of cl100k_base.tiktoken is here")
    embeddings = openai.OpenAIEmbeddings(base_url=f"{server.url}/v1", api_key=KEY, model=OPENAI_NAME)
    for text, vector in zip(TEXTS, right, strict=True):
        # LangChain averages the parts of a text, in float64, also where there is one.
        np.testing.assert_allclose(embeddings.embed_query(text), vector, atol=1e-7)
    np.testing.assert_allclose(embeddings.embed_documents(TEXTS), right, atol=1e-7)
    other = openai.OpenAIEmbeddings(base_url=f"{server.url}/v1", api_key=KEY, model=NAME)
    with pytest.raises(Exception, match="check_embedding_ctx_length=False"):
        other.embed_documents(TEXTS)


def test_llama_index_openai_like(server, right):
    openai_like = pytest.importorskip("llama_index.embeddings.openai_like")
    embedding = openai_like.OpenAILikeEmbedding(model_name=NAME, api_base=f"{server.url}/v1", api_key=KEY)
    same(embedding.get_text_embedding_batch(TEXTS), right)
    same(embedding.get_query_embedding(TEXTS[0]), right[0])


def test_llama_index_tei(server, right):
    tei = pytest.importorskip("llama_index.embeddings.text_embeddings_inference")
    embedding = tei.TextEmbeddingsInference(
        model_name=NAME,
        base_url=server.url,
        auth_token=KEY,
        query_instruction="",
        text_instruction="",
    )
    same(embedding.get_text_embedding_batch(TEXTS), right)
    same(asyncio.run(embedding.aget_query_embedding(TEXTS[0])), right[0])


def test_llama_index_ollama(server, right):
    ollama = pytest.importorskip("llama_index.embeddings.ollama")
    headers = {"headers": {"Authorization": f"Bearer {KEY}"}}
    embedding = ollama.OllamaEmbedding(model_name=NAME, base_url=server.url, client_kwargs=headers)
    same(embedding.get_text_embedding_batch(TEXTS), right)


def test_haystack_openai(server, right):
    embedders = pytest.importorskip("haystack.components.embedders")
    from haystack import Document
    from haystack.utils import Secret

    options = {"api_key": Secret.from_token(KEY), "api_base_url": f"{server.url}/v1", "model": NAME}
    same(embedders.OpenAITextEmbedder(**options).run(TEXTS[0])["embedding"], right[0])
    documents = [Document(content=text) for text in TEXTS]
    embedded = embedders.OpenAIDocumentEmbedder(**options).run(documents)["documents"]
    same([document.embedding for document in embedded], right)


def test_haystack_tei(server, right):
    pytest.importorskip("haystack_integrations.components.embedders.huggingface_api")
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.embedders import huggingface_api

    options = {
        "api_type": "text_embeddings_inference",
        "api_params": {"url": server.url},
        "token": Secret.from_token(KEY),
        "normalize": True,  # it asks TEI not to, unless told
    }
    same(huggingface_api.HuggingFaceAPITextEmbedder(**options).run(TEXTS[0])["embedding"], right[0])
    documents = [Document(content=text) for text in TEXTS]
    embedder = huggingface_api.HuggingFaceAPIDocumentEmbedder(**options)
    same([document.embedding for document in embedder.run(documents)["documents"]], right)
    options["normalize"] = False
    bare = np.array(huggingface_api.HuggingFaceAPITextEmbedder(**options).run(TEXTS[0])["embedding"])
    assert np.linalg.norm(bare) > 2
    np.testing.assert_allclose(bare / np.linalg.norm(bare), right[0], atol=1e-6)


def test_haystack_ranks_over_tei_and_cohere(server):
    pytest.importorskip("haystack_integrations.components.rankers.huggingface_api")
    pytest.importorskip("haystack_integrations.components.rankers.cohere")
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.cohere import CohereRanker
    from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

    documents = [Document(content=text) for text in TEXTS]
    rankers = (
        HuggingFaceTEIRanker(url=server.url, token=Secret.from_token(KEY)),
        CohereRanker(model="rerank-v3.5", api_base_url=server.url, api_key=Secret.from_token(KEY)),
    )
    for ranker in rankers:
        ranked = ranker.run(query=TEXTS[0], documents=documents)["documents"]
        assert [document.content for document in ranked][:2] == [TEXTS[0], TEXTS[2]]


def test_chromadbs_three_functions(server, right, monkeypatch):
    functions = pytest.importorskip("chromadb.utils.embedding_functions")
    monkeypatch.setenv("CHROMA_OPENAI_API_KEY", KEY)
    openai = functions.OpenAIEmbeddingFunction(model_name=NAME, api_base=f"{server.url}/v1")
    same(openai(TEXTS), right)
    huggingface = functions.HuggingFaceEmbeddingServer(url=f"{server.url}/embed", api_key=KEY)
    same(huggingface(TEXTS), right)


def test_ollama_for_python_and_chromadbs_function(named_model, right):
    """chromadb's function passes no headers on, so this server wants no key."""
    ollama = pytest.importorskip("ollama")
    functions = pytest.importorskip("chromadb.utils.embedding_functions")
    with running("--model", str(named_model)) as server:
        client = ollama.Client(host=server.url)
        same(client.embed(model=NAME, input=TEXTS).embeddings, right)
        same(client.embed(model=f"{NAME}:latest", input=TEXTS[0]).embeddings, right[:1])
        same(client.embeddings(model=NAME, prompt=TEXTS[0]).embedding, right[0])
        assert NAME in [model.model for model in client.list().models]
        with pytest.raises(ollama.ResponseError) as caught:
            client.embed(model="nothing", input="a")
        assert caught.value.status_code == 404
        same(functions.OllamaEmbeddingFunction(url=server.url, model_name=NAME)(TEXTS), right)
        langchain = pytest.importorskip("langchain_ollama")
        same(langchain.OllamaEmbeddings(model=NAME, base_url=server.url).embed_documents(TEXTS), right)


def test_huggingface_hubs_inference_client(server, right):
    hub = pytest.importorskip("huggingface_hub")
    client = hub.InferenceClient(model=server.url, token=KEY)
    same(client.feature_extraction(TEXTS[0]), right[:1])
    same(client.feature_extraction(TEXTS), right)
    same(client.feature_extraction(TEXTS[0], normalize=True, truncate=True), right[:1])
    scores = hub.InferenceClient(model=f"{server.url}/similarity", token=KEY).sentence_similarity(
        TEXTS[0], other_sentences=TEXTS[1:]
    )
    np.testing.assert_allclose(scores, right[1:] @ right[0], atol=1e-6)


def test_coheres_client(server):
    cohere = pytest.importorskip("cohere")
    for client in (cohere.Client(KEY, base_url=server.url), cohere.ClientV2(KEY, base_url=server.url)):
        answer = client.rerank(model="rerank-v3.5", query=TEXTS[0], documents=TEXTS, top_n=2)
        assert [result.index for result in answer.results] == [0, 2]
        assert "bi-encoder" in answer.meta.warnings[0]
        with pytest.raises(cohere.errors.NotFoundError):
            client.rerank(model="nothing", query="a", documents=["a"])


def test_langchains_cohere_rerank(server):
    langchain = pytest.importorskip("langchain_cohere")
    from langchain_core.documents import Document

    reranker = langchain.CohereRerank(model="rerank-v3.5", cohere_api_key=KEY, base_url=server.url, top_n=2)
    ranked = reranker.compress_documents([Document(page_content=text) for text in TEXTS], TEXTS[0])
    assert [document.page_content for document in ranked] == [TEXTS[0], TEXTS[2]]


def test_llama_indexs_jina_rerank(server):
    jina = pytest.importorskip("llama_index.postprocessor.jinaai_rerank")
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

    reranker = jina.JinaRerank(base_url=f"{server.url}/v1", api_key=KEY, top_n=2)
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    ranked = reranker.postprocess_nodes(nodes, QueryBundle(TEXTS[0]))
    assert [node.text for node in ranked] == [TEXTS[0], TEXTS[2]]


def test_curl(server, right):
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    headers = ["-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/json"]
    data = json.dumps({"input": TEXTS, "model": NAME})
    command = ["curl", "--silent", "--fail", *headers, "-d", data, f"{server.url}/v1/embeddings"]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    same([item["embedding"] for item in answer["data"]], right)
    # A body of this size makes curl wait for "100 Continue".
    many = json.dumps({"inputs": ["a" * 1000] * 2000})
    command = ["curl", "--silent", "--fail", *headers, "-d", "@-", "-o", os.devnull, "-w", "%{http_code}"]
    process = subprocess.run(
        [*command, f"{server.url}/tokenize"], input=many.encode(), capture_output=True, check=False
    )
    assert process.stdout == b"413"  # more characters than /tokenize describes


def run_node(server: Running, program: str) -> Any:
    """Run a module of JavaScript that prints JSON."""
    if shutil.which("node") is None or not (NODE / "node_modules").is_dir():
        pytest.skip("no Node, or no npm that could fetch its clients")
    script = NODE / "client.mjs"
    script.write_text(program)
    environment = {**os.environ, "URL": server.url, "KEY": KEY, "NAME": NAME, "TEXTS": json.dumps(TEXTS)}
    process = subprocess.run(
        ["node", str(script)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_openai_for_node(server, right):
    program = """
    import OpenAI from "openai";
    const client = new OpenAI({ baseURL: `${process.env.URL}/v1`, apiKey: process.env.KEY });
    const input = JSON.parse(process.env.TEXTS), model = process.env.NAME;
    const first = await client.embeddings.create({ model, input });
    const second = await client.embeddings.create({ model, input, encoding_format: "float" });
    let code = null;
    try { await client.embeddings.create({ model: "nothing", input }); } catch (error) { code = error.code; }
    console.log(JSON.stringify([first.data.map(d => d.embedding), second.data.map(d => d.embedding), code]));
    """
    first, second, code = run_node(server, program)
    same(first, right)
    same(second, right)
    assert code == "model_not_found"


def test_ollama_for_node(server, right):
    program = """
    import { Ollama } from "ollama";
    const headers = { Authorization: `Bearer ${process.env.KEY}` };
    const client = new Ollama({ host: process.env.URL, headers });
    const answer = await client.embed({ model: process.env.NAME, input: JSON.parse(process.env.TEXTS) });
    console.log(JSON.stringify(answer.embeddings));
    """
    same(run_node(server, program), right)


def test_cohere_for_node(server):
    program = """
    import { CohereClientV2 } from "cohere-ai";
    const client = new CohereClientV2({ token: process.env.KEY, environment: process.env.URL });
    const documents = JSON.parse(process.env.TEXTS);
    const answer = await client.rerank({ model: "rerank-v3.5", query: documents[0], documents, topN: 2 });
    console.log(JSON.stringify(answer.results.map(result => result.index)));
    """
    assert run_node(server, program) == [0, 2]
