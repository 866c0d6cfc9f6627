from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import OAS
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from lori_cl.routing import Router, TaskStatistics
from lori_cl.routing.router import shrunk

Data = dict[str, np.ndarray]


def drawn(sizes: dict[str, int], d: int, apart: float = 1.0, seed: int = 0) -> Data:
    """Features whose classes share one covariance, far from a multiple of the identity."""
    draw = np.random.default_rng(seed)
    mixing = draw.normal(size=(d, d)) * np.linspace(0.1, 3, d)
    return {
        task: draw.normal(size=(n, d)) @ mixing + apart * draw.normal(size=d) for task, n in sizes.items()
    }


def fitted(data: Data) -> Router:
    return Router.fit({task: TaskStatistics.of(features) for task, features in data.items()})


def stacked(data: Data) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(list(data.values())), np.repeat(list(data), [len(x) for x in data.values()])


def residual_spread(data: Data) -> np.ndarray:
    """Standard deviation of each feature within the classes."""
    return np.sqrt(np.mean(np.concatenate([x - x.mean(axis=0) for x in data.values()]) ** 2, axis=0))


def test_with_many_texts_it_decides_as_a_plain_lda_on_the_raw_features() -> None:
    data = drawn({"first": 3000, "second": 1500, "third": 2400}, d=6)
    x, y = stacked(data)
    plain = LinearDiscriminantAnalysis(solver="svd", priors=[1 / 3] * 3).fit(x, y)
    ours = fitted(data)
    assert ours.shrinkage < 0.01
    agreed = np.mean(np.array(ours.route(x)) == plain.predict(x))
    assert agreed > 0.995
    assert 0.4 < np.mean(plain.predict(x) == y) < 0.995  # where all is clear, any rule would agree


def test_with_fewer_texts_than_features_it_is_scikit_learns_lda_of_the_same_shrinkage() -> None:
    data = drawn({"first": 12, "second": 12, "third": 12}, d=50, apart=4.0)
    spread = residual_spread(data)
    x, y = stacked(data)
    ours = fitted(data)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=ours.shrinkage, priors=[1 / 3] * 3)
    theirs.fit(x / spread, y)
    unseen, _ = stacked(drawn(dict.fromkeys(data, 200), d=50, apart=4.0, seed=1))
    guessed = ours.route(unseen)
    assert guessed == theirs.predict(unseen / spread).tolist()
    assert set(guessed) == set(data)


def test_the_shrinkage_is_that_of_scikit_learns_oas() -> None:
    data = drawn({"first": 20, "second": 30}, d=15)
    residuals = np.concatenate([x - x.mean(axis=0) for x in data.values()]) / residual_spread(data)
    theirs = OAS(assume_centered=True).fit(residuals)
    assert fitted(data).shrinkage == pytest.approx(theirs.shrinkage_)
    covariance, _ = shrunk(residuals.T @ residuals / 50, 50)
    assert covariance == pytest.approx(theirs.covariance_)


def test_the_guess_does_not_depend_on_the_scale_of_a_feature() -> None:
    data = drawn({"first": 10, "second": 10}, d=30, apart=2.0)
    scale = np.ones(30)
    scale[3] = 1e4
    unseen, _ = stacked(drawn({"first": 100, "second": 100}, d=30, apart=2.0, seed=2))
    scaled = fitted({task: x * scale for task, x in data.items()})
    assert scaled.route(unseen * scale) == fitted(data).route(unseen)


def test_among_equal_tasks_the_one_learned_first_wins() -> None:
    features = drawn({"any": 10}, d=4)["any"]
    for tasks in (("late", "early"), ("early", "late"), ("c", "a", "b")):
        same = Router.fit({task: TaskStatistics.of(features) for task in tasks})
        assert set(same.route(features)) == {tasks[0]}


def test_a_single_task_gets_everything() -> None:
    data = drawn({"only": 3}, d=4)
    assert fitted(data).route(100 * np.ones((2, 4))) == ["only", "only"]


def test_one_text_a_task_is_enough_and_the_nearest_mean_wins() -> None:
    router = fitted({"zero": np.zeros((1, 3)), "ten": np.full((1, 3), 10.0)})
    assert router.route(np.array([[1.0, 2.0, 0.0], [9.0, 8.0, 20.0]])) == ["zero", "ten"]


def test_a_feature_that_never_varies_does_no_harm() -> None:
    data = {task: np.c_[x, np.ones(len(x))] for task, x in drawn({"a": 40, "b": 40}, d=3, apart=9.0).items()}
    x, y = stacked(data)
    assert np.mean(np.array(fitted(data).route(x)) == y) > 0.9


def test_statistics_come_back_from_their_arrays_to_the_bit() -> None:
    before = TaskStatistics.of(drawn({"a": 7}, d=5)["a"].astype(np.float32))
    after = TaskStatistics.from_arrays(before.to_arrays())
    assert after.n == 7
    assert after.mean.dtype == after.scatter.dtype == np.float64
    assert np.array_equal(after.mean, before.mean)
    assert np.array_equal(after.scatter, before.scatter)


def test_statistics_are_the_moments_that_numpy_gives() -> None:
    features = drawn({"a": 9}, d=4)["a"]
    found = TaskStatistics.of(features)
    assert found.mean == pytest.approx(features.mean(axis=0))
    assert found.scatter == pytest.approx(8 * np.cov(features, rowvar=False))
