"""Data sets made of a user's own arrays."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from eqx_qdeq.training import DataError, Dataset, Split, Standardize
from eqx_qdeq.training.data import as_dataset

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 4)) * [1, 10, 100, 0] + [0, 5, -300, 7]
NAMED = np.array(["b", "a", "c"])[np.arange(60) % 3]
REAL = RANDOM.normal(size=(60, 2)) * 30 + 100


class Frame(dict):
    """What looks like a data frame: columns by name."""

    @property
    def columns(self):
        return list(self)

    def __len__(self):
        return len(next(iter(self.values())))


def splits(data):
    return data.train, data.validation, data.test


def rows(data):
    """All samples in the units that were given, in the order of the first feature."""
    found = np.concatenate([np.asarray(s.x, float) for s in splits(data)])
    found = found if data.preprocess is None else data.preprocess.undo(found)
    return found[np.argsort(found[:, 0])]


class Twice(Frame):
    columns = ("a", "a")


# --- What becomes of arrays. ---


def test_each_sample_is_in_one_split_and_each_class_in_all(tol):
    data = Dataset.from_arrays(X, NAMED)
    assert [len(s) for s in splits(data)] == [39, 9, 12]
    assert data.class_names == ("a", "b", "c") and data.task == "classification"
    assert data.out_size == data.n_classes == 3 and data.in_size == 4
    for split in splits(data):
        counts = np.bincount(split.y)
        assert counts.min() == counts.max() == len(split) / 3
    np.testing.assert_allclose(rows(data), X[np.argsort(X[:, 0])], rtol=1e-5, atol=1e-4)


def test_standardized_by_the_training_samples_alone_and_new_ones_alike(tol):
    data = Dataset.from_arrays(X, NAMED)
    train = np.asarray(data.train.x, float)
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(axis=0), [1, 1, 1, 0], atol=1e-6)
    raw = data.preprocess.undo(train)
    np.testing.assert_allclose(data.transform(X), StandardScaler().fit(raw).transform(X), atol=2e-5)


def test_standardization_survives_a_large_offset():
    x = 1e9 + RANDOM.normal(size=(50, 1))
    found = Standardize.fit(x)(x)
    np.testing.assert_allclose(found.std(), 1, rtol=1e-6)
    np.testing.assert_allclose(Standardize.fit(x).undo(found), x, rtol=1e-15)


@pytest.mark.parametrize("y", [REAL, REAL[:, 0]])
def test_targets_come_back_in_their_units(y):
    data = Dataset.from_arrays(X, y)
    assert data.task == "regression" and data.class_names == () and data.n_classes == 0
    assert data.out_size == y[0].size
    assert data.train.y.shape[1:] == y.shape[1:]
    np.testing.assert_allclose(np.std(data.train.y, axis=0), 1, rtol=1e-5)
    back = data.to_targets(data.test.y)
    assert (
        np.isclose(back.reshape(-1, y[0].size)[:, :1], y.reshape(60, -1)[:, 0], rtol=1e-5)
        .any(1)
        .all()
    )
    # A model of one output gives it an axis.
    if y.ndim == 1:
        np.testing.assert_allclose(data.to_targets(data.test.y[:, None])[:, 0], back)
    plain = Dataset.from_arrays(X, y, standardize=False)
    assert (
        plain.preprocess is None
        and np.isin(np.asarray(plain.test.y), y.astype(plain.test.y.dtype)).all()
    )


@pytest.mark.parametrize(
    "y,names",
    [
        (NAMED.tolist(), ("a", "b", "c")),
        (NAMED.astype(object), ("a", "b", "c")),
        (np.arange(60) % 3 * 7 - 5, ("-5", "2", "9")),
        ((np.arange(60) % 2)[:, None] > 0, ("False", "True")),
        (np.array([True, False] * 30, object), ("False", "True")),
        (jnp.arange(60) % 2, ("0", "1")),
        (np.arange(60, dtype=np.uint8) % 3, ("0", "1", "2")),
    ],
)
def test_labels_may_be_anything(y, names):
    data = Dataset.from_arrays(X, y)
    assert data.class_names == names
    # The sample with the least first feature keeps its label.
    truth = np.asarray(y).ravel().astype(str)
    for split in splits(data):
        where = np.abs(data.preprocess.undo(split.x)[:, :1] - X[:, 0]).argmin(axis=1)
        assert [names[i] for i in split.y] == truth[where].tolist()


def test_classes_are_named_in_sorted_order_or_by_their_number():
    data = Dataset.from_arrays(X, NAMED, class_names=["anna", "bert", "carl"])
    assert data.class_names == ("anna", "bert", "carl")
    # Numbers say themselves which name is theirs, also where one does not occur.
    few = Dataset.from_arrays(X, np.arange(60) % 2 * 2, class_names="abc")
    assert few.class_names == ("a", "b", "c") and set(np.asarray(few.train.y)) == {0, 2}
    whole = Dataset.from_arrays(X, np.arange(60) % 2 * 1.0, class_names="ab")
    assert whole.task == "classification"


def test_the_seed_decides_the_splits():
    first, again, other = (Dataset.from_arrays(X, NAMED, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.test.x, again.test.x)
    assert not np.array_equal(first.test.x, other.test.x)
    real = Dataset.from_arrays(X, REAL)
    assert [len(s) for s in splits(real)] == [38, 10, 12]


def test_splits_may_be_given():
    weights = np.linspace(1, 2, 6)
    data = Dataset.from_arrays(
        X, NAMED, test=(X[:6] + 1, ["c", "a", "a", "c", "a", "c"], weights), standardize=False
    )
    assert np.asarray(data.test.y).tolist() == [2, 0, 0, 2, 0, 2]
    np.testing.assert_allclose(data.test.sample_weight, weights, rtol=1e-6)
    assert len(data.train) + len(data.validation) == 60
    with pytest.raises(DataError, match=r"data \(test\): labels \['d'\] are not among"):
        Dataset.from_arrays(X, NAMED, test=(X[:1], ["d"]))
    both = Dataset.from_arrays(X, REAL, test=(X[:5], REAL[:5]), validation=(X[5:9], REAL[5:9]))
    assert [len(s) for s in splits(both)] == [60, 4, 5]


def test_weights_go_with_their_samples():
    weight = X[:, 0] - X[:, 0].min() + 1
    data = Dataset.from_arrays(X, NAMED, sample_weight=weight, standardize=False)
    for split in splits(data):
        expected = split.x[:, 0] - X[:, 0].min() + 1
        np.testing.assert_allclose(split.sample_weight, expected, rtol=1e-5)
    # What counts twice counts as if it were there twice.
    twice = Standardize.fit(X[:2], np.array([2.0, 1.0]))
    np.testing.assert_allclose(twice.mean, X[[0, 0, 1]].mean(axis=0))
    np.testing.assert_allclose(twice.scale[:3], X[[0, 0, 1]].std(axis=0)[:3])


def test_tokens_and_images_stay_as_they_are():
    tokens = RANDOM.integers(0, 50, (60, 7))
    data = Dataset.from_arrays(tokens, NAMED, standardize=False)
    assert jnp.issubdtype(data.train.x.dtype, jnp.integer) and data.in_size == 7
    assert data.transform(tokens).dtype == data.train.x.dtype
    # Looked up as they are.
    embedding = eqx.nn.Embedding(50, 3, key=jax.random.key(0))
    assert jax.vmap(jax.vmap(embedding))(data.train.x).shape == (len(data.train), 7, 3)
    images = RANDOM.normal(size=(60, 5, 5))
    kept = Dataset.from_arrays(images, NAMED)
    assert kept.preprocess is None and kept.train.x.shape[1:] == (5, 5)
    scaled = Dataset.from_arrays(images, NAMED, standardize=True)
    assert scaled.preprocess.mean.shape == (5, 5)


def test_samples_may_be_structures():
    graphs = {"nodes": RANDOM.normal(size=(60, 5, 3)), "mask": RANDOM.random((60, 5)) > 0.5}
    data = Dataset.from_arrays(graphs, NAMED)
    assert data.train.x["nodes"].shape == (39, 5, 3) and data.train.x["mask"].dtype == bool
    assert data.in_size == 20 and data.preprocess is None
    # Arrays stay together.
    pairs = Dataset.from_arrays((X, X[:, 0]), NAMED)
    np.testing.assert_array_equal(pairs.test.x[0][:, 0], pairs.test.x[1])
    # A list of numbers is an array, a list of arrays is not.
    lists = {"nodes": graphs["nodes"].tolist(), "more": [X, X[:, 0]]}
    listed = Dataset.from_arrays(lists, NAMED).train.x
    np.testing.assert_array_equal(listed["nodes"], data.train.x["nodes"])
    assert [a.ndim for a in listed["more"]] == [2, 1]
    with pytest.raises(DataError, match="dict of arrays are not standardized"):
        Dataset.from_arrays(graphs, NAMED, standardize=True)
    with pytest.raises(DataError, match=r"share a leading axis.*\(60, 4\), \(59,\)"):
        Dataset.from_arrays((X, X[:59, 0]), NAMED)
    with pytest.raises(DataError, match="new samples have shape"):
        data.transform({"nodes": graphs["nodes"], "mask": graphs["mask"][:, :4]})


def test_a_data_frame():
    frame = Frame(a=X[:, 0], b=np.arange(60), c=np.array([1.5, 2] * 30, object))
    data = Dataset.from_arrays(frame, NAMED, standardize=False)
    assert data.in_size == 3
    found = np.concatenate([s.x for s in splits(data)])
    assert sorted(found[:, 1].tolist()) == list(range(60))
    # Columns in another order would be taken for one another.
    assert data.feature_names == ("a", "b", "c")
    assert data.transform(X[:, :3]).shape == (60, 3)
    turned = Frame(b=frame["b"], a=frame["a"], c=frame["c"])
    with pytest.raises(DataError, match=r"the new samples: columns must be .*'a', 'b', 'c'.*got"):
        data.transform(turned)
    with pytest.raises(DataError, match=r"data \(test\): columns must be those of the training"):
        Dataset.from_arrays(frame, NAMED, test=(turned, NAMED))
    for bad in (NAMED.astype(object), NAMED, np.array(["2020-01-01"] * 60, "datetime64[D]")):
        with pytest.raises(DataError, match=r"these are not: 'city' \(.*get_dummies"):
            Dataset.from_arrays(Frame(a=X[:, 0], city=bad), NAMED)


# --- What is refused. ---

NAN = np.where(np.arange(60)[:, None] == 7, np.nan, X)


@pytest.mark.parametrize(
    "x,y,options,message",
    [
        (X, NAMED[:59], {}, "60 samples but 59 labels"),
        (X, REAL[:59], {}, "60 samples but 59 targets"),
        (NAN, NAMED, {}, "1 of 60 samples have features that are NaN .* sample 7"),
        (X, np.where(np.isnan(NAN[:, 0]), np.nan, 0.5), {}, "have targets that are NaN"),
        (X, ["a"] * 60, {}, "all labels are 'a'"),
        (X, ["a"] * 59 + ["b"], {}, "class 'b' has too few samples"),
        (X, ["a"] * 58 + ["b"] * 2, {}, "class 'b' has too few samples"),
        (X, np.arange(60), {}, 'too few samples.*task="regression"'),
        (X[:, :0], NAMED, {}, r"samples of shape \(0,\) have no features"),
        (X[:0], [], {}, "labels must be|no samples|cannot be split"),
        (X[:0], REAL[:0], {}, "no samples|cannot be split"),
        (X[:1], REAL[:1], {}, "1 samples cannot be split"),
        (X[0], NAMED[:4], {}, r"got \(4,\). One feature is a column"),
        (sparse.csr_matrix(X), NAMED, {}, r"x is sparse \(csr_matrix\).*toarray"),
        (X, sparse.csr_matrix(REAL), {}, "y is sparse"),
        ([[1, 2], [3]], [0, 1], {}, "lists of equal lengths"),
        ([["a", 2]] * 60, NAMED, {}, "must be real numbers|must be numbers"),
        (np.array([[1, None]] * 60), NAMED, {}, r"must be numbers; got None at \[0, 1\]"),
        (X * 1j, NAMED, {}, "must be real"),
        (np.ma.masked_greater(X, 6), NAMED, {}, "has masked entries"),
        (X, np.array(["a", 1] * 30, object), {}, "of one kind"),
        (X, np.array(["a", None] * 30, object), {}, "of one kind.*got object: NoneType, str"),
        (Twice(a=X[:, 0]), NAMED, {}, "has several columns 'a'"),
        (X, np.arange(60) % 3 * 1.0, {}, '3 different values.*task="classification"'),
        (X, REAL, {"task": "classification"}, r"labels must have shape \(n,\)"),
        (X, REAL[:, 0], {"task": "classification"}, "whole numbers or names"),
        (X, NAMED, {"task": "regression"}, "targets of a regression must be numbers"),
        (X, REAL[:, :, None], {}, r"shape \(n,\) or \(n, k\)"),
        (X, NAMED, {"task": "ranking"}, "`task` must be one of"),
        (X, NAMED, {"class_names": "ab"}, "2 names for 3 labels: a, b, c"),
        (X, REAL, {"task": "regression", "class_names": "ab"}, "real targets have none"),
        (X, NAMED, {"test": 1.0}, r"`test` must be a share in \(0, 1\).*got 1.0"),
        (X, NAMED, {"validation": 0.0}, "`validation` must be a share"),
        (X, NAMED, {"class_names": "aba"}, "`class_names` has 'a' for several classes"),
        (X, NAMED.astype("S"), {"class_names": "ab"}, "2 names for 3 labels: a, b, c"),
        (X, [b"\xff", b"a"] * 30, {}, "bytes that are no text"),
        (X, NAMED, {"test": (X[:3, :2], NAMED[:3])}, r"\(test\): samples have shape \(2,\), "),
        (X, NAMED, {"validation": ({"a": X}, NAMED)}, r"\(validation\): samples have shape {'a'"),
        (X, REAL, {"test": (X[:3], REAL[:3, 0])}, r"targets have shape \(\), those to train on"),
        (X, NAMED, {"test": (X[:4], NAMED[:4].reshape(2, 2))}, r"labels must have shape \(n,\)"),
        (X, NAMED, {"test": (X[:0], NAMED[:0])}, r"data \(test\): no samples"),
        ({"a": [[1, 2], [3]] * 30}, NAMED, {}, "a part of x must be numbers .* got list"),
        (dict.fromkeys("abcdefgh", 1.0), NAMED, {}, r"8 arrays, of the shapes .*\(\), …\.$"),
        (X, NAMED, {"seed": -1}, "`seed` must be at least 0"),
        (X, NAMED, {"sample_weight": np.ones(3)}, "one number for each of 60"),
        (X, NAMED, {"sample_weight": -np.ones(60)}, "must be at least 0"),
        (X, NAMED, {"sample_weight": np.zeros(60)}, "not all of it"),
        (X, NAMED, {"sample_weight": np.full(60, np.nan)}, "have weights that are NaN"),
        (np.full((60, 2), 2**63, np.uint64), NAMED, {"standardize": False}, "beyond the range of"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(x, y, options, message):
    with pytest.raises((DataError, TypeError, ValueError), match=message):
        Dataset.from_arrays(x, y, **options)


def test_splits_of_one_data_set_are_of_one_kind():
    labels, real = Split(X, np.arange(60) % 2), Split(X, REAL)
    with pytest.raises(DataError, match="y of validation has"):
        Dataset(labels, real, labels, class_names="ab")
    with pytest.raises(DataError, match="`class_names` are of labels"):
        Dataset(real, real, real, class_names="ab")
    assert Dataset(real, real, real).task == "regression"


def test_new_samples_and_outputs_of_another_shape_are_refused():
    data, labels = Dataset.from_arrays(X, REAL), Dataset.from_arrays(X, NAMED.astype("S"))
    assert labels.class_names == ("a", "b", "c")  # of bytes, as text
    with pytest.raises(DataError, match="the new samples: no samples"):
        data.transform(X[:0])
    for new, shape in ((X[:, :2], r"\(n, 4\).* got \(60, 2\)"), (X[:, None, :2], "60, 1, 2")):
        with pytest.raises(DataError, match=shape):
            data.transform(new)
    assert data.to_targets(REAL[0]).shape == (2,)
    for outputs in (REAL[:, :1], REAL[:, 0]):
        with pytest.raises(DataError, match=r"standardized must have shape \(n, 2\)"):
            data.to_targets(outputs)
    with pytest.raises(DataError, match="has labels, and `to_targets` is of a regression"):
        labels.to_targets(np.zeros((3, 3)))


def test_what_is_masked_is_no_target_and_no_weight():
    x, y = np.eye(4)[[0, 1, 2, 3] * 5], np.array([0, 1, 0, 1] * 5)
    masked = np.ma.masked_array(y, mask=[True] + [False] * 19)
    weight = np.ma.masked_array(np.ones(20), mask=[True] + [False] * 19)
    makers = [
        lambda: Dataset.from_arrays(x, masked),
        lambda: Dataset.from_arrays(x, masked + 0.5),
        lambda: Dataset.from_arrays(x, y, sample_weight=weight),
        lambda: Split(x, masked),
        lambda: as_dataset((x, masked)),
        lambda: as_dataset((x, y, weight)),
    ]
    for make in makers:
        with pytest.raises(DataError, match="has masked entries"):
            make()


@pytest.mark.parametrize("n", [4, 50])
def test_weights_of_a_pair_are_as_many_as_its_samples(n):
    with pytest.raises(DataError, match="one number for each of 20 samples"):
        as_dataset((np.eye(4)[[0, 1, 2, 3] * 5], np.array([0, 1, 0, 1] * 5), np.ones(n)))


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_standardization_of_any_size(size):
    """Scikit-learn's, whose squares leave the range of numbers; a constant becomes 0."""
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 3)) * np.array([1, 3, 0]) + np.array([0, 1, 1])
    expected = StandardScaler().fit_transform(x)
    scaling = Standardize.fit(x * size)
    np.testing.assert_allclose(scaling(x * size), expected, atol=1e-12)
    np.testing.assert_allclose(scaling.undo(expected), x * size, rtol=1e-9, atol=1e-12 * size)
    constant = np.full((60, 1), 1e30)
    np.testing.assert_allclose(Standardize.fit(constant)(constant), 0, atol=1e-12)
