"""minigte inside scikit-learn and BERTopic: `make test-integrations`."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from minigte import Embedder, InputError

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is missing: make test-integrations")

from sklearn.base import clone  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.utils import estimator_checks  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

from minigte.integrations.sklearn import MinigteTransformer  # noqa: E402

TEXTS = ["the cat sat on the mat", "a dog", "run, run!", "cats run", "the dog sat", "mat"] * 4
LABELS = [int("cat" in text) for text in TEXTS]


def test_vectors_are_those_of_the_embedder(folder: Path, small: Embedder) -> None:
    transformer = MinigteTransformer(folder, prompt="the ", truncate_dim=8, normalize_embeddings=True)
    vectors = transformer.fit_transform(np.array(TEXTS, object))
    assert vectors.dtype == np.float32
    expected = small.encode(TEXTS, prompt="the ", truncate_dim=8, normalize_embeddings=True)
    assert (vectors == expected).all()
    assert list(transformer.get_feature_names_out())[:2] == ["minigtetransformer0", "minigtetransformer1"]


def test_a_pipeline_learns_is_searched_and_pickled(folder: Path) -> None:
    pipeline = make_pipeline(MinigteTransformer(folder), LogisticRegression())
    grid = {"minigtetransformer__truncate_dim": [4, 20], "logisticregression__C": [10.0]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(TEXTS, LABELS)
    assert search.score(TEXTS, LABELS) > 0.6
    data = pickle.dumps(search.best_estimator_)
    assert len(data) < 20_000  # no weights: the tiny model alone has 60 kB of them
    assert (pickle.loads(data).predict_proba(TEXTS) == search.predict_proba(TEXTS)).all()


def test_clone(folder: Path) -> None:
    transformer = MinigteTransformer(folder, dtype="float32", truncate_dim=8).fit(TEXTS)
    copy = clone(transformer)
    assert copy.get_params() == transformer.get_params()
    with pytest.raises(NotFittedError):
        copy.transform(TEXTS)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_the_checks_of_scikit_learn(folder: Path) -> None:
    """Those that apply: an estimator that takes no matrices is spared nearly all, as CountVectorizer is."""
    results = check_estimator(MinigteTransformer(folder), on_fail=None, on_skip=None)
    assert {result["status"] for result in results} <= {"passed", "skipped"}
    assert "check_estimator_cloneable" in {result["check_name"] for result in results}


@pytest.mark.parametrize(
    "name",
    [
        "check_no_attributes_set_in_init",
        "check_get_params_invariance",
        "check_set_params",
        "check_parameters_default_constructible",
        "check_estimator_get_tags_default_keys",
        "check_estimator_repr",
        "check_estimator_tags_renamed",
        "check_valid_tag_types",
        "check_mixin_order",
        "check_do_not_raise_errors_in_init_or_set_param",
    ],
)
def test_its_checks_that_need_no_matrix(name: str) -> None:
    """Some releases have one more or less."""
    check = getattr(estimator_checks, name, None)
    if check is None:
        pytest.skip(f"this scikit-learn has no {name}")
    check("MinigteTransformer", MinigteTransformer())


def test_what_is_no_text_is_refused(folder: Path) -> None:
    transformer = MinigteTransformer(folder).fit(TEXTS)
    with pytest.raises(InputError, match=r"sentences\[1\].*missing"):
        transformer.transform(["a", None])
    with pytest.raises(InputError, match="one str"):
        transformer.transform("a cat")


def test_bertopic(folder: Path) -> None:
    bertopic = pytest.importorskip("bertopic", reason="bertopic is missing: make test-integrations")
    model = bertopic.BERTopic(
        # Of what is no pipeline it embeds by a model of its own, without a word.
        embedding_model=make_pipeline(MinigteTransformer(folder)),
        umap_model=PCA(4),
        hdbscan_model=KMeans(3, n_init=1, random_state=0),
    )
    topics, _ = model.fit_transform(TEXTS)
    vectors = MinigteTransformer(folder).fit_transform(TEXTS)
    expected = KMeans(3, n_init=1, random_state=0).fit_predict(PCA(4).fit_transform(vectors))
    same = {(one, other) for one, other in zip(topics, expected, strict=True)}
    assert len(same) == len(set(topics)) == 3  # the same clusters, whatever they are called
    assert model.transform(["a dog"])[0][0] in set(topics)
