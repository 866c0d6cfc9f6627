from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import OAS
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from lori_cl.routing import Router, TaskStatistics
from lori_cl.routing.router import shrink_covariance

Data = dict[str, np.ndarray]


def sample_data(sizes: dict[str, int], d: int, separation: float = 1.0, seed: int = 0) -> Data:
    """Features whose classes share one covariance that is far from a multiple of the identity."""
    draw = np.random.default_rng(seed)
    mixing = draw.normal(size=(d, d)) * np.linspace(0.1, 3, d)
    return {
        task: draw.normal(size=(n, d)) @ mixing + separation * draw.normal(size=d)
        for task, n in sizes.items()
    }


def fit_to_model(data: Data) -> Router:
    return Router.fit({task: TaskStatistics.of(features) for task, features in data.items()})


def stacked(data: Data) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(list(data.values())), np.repeat(list(data), [len(x) for x in data.values()])


def residual_spread(data: Data) -> np.ndarray:
    """Return the standard deviation of each feature within the classes."""
    return np.sqrt(np.mean(np.concatenate([x - x.mean(axis=0) for x in data.values()]) ** 2, axis=0))


def test_router_matches_plain_lda_given_many_texts() -> None:
    data = sample_data({"first": 3000, "second": 1500, "third": 2400}, d=6)
    x, y = stacked(data)
    plain = LinearDiscriminantAnalysis(solver="svd", priors=[1 / 3] * 3).fit(x, y)
    ours = fit_to_model(data)
    assert ours.shrinkage < 0.01
    agreed = np.mean(np.array(ours.route(x)) == plain.predict(x))
    assert agreed > 0.995
    assert 0.4 < np.mean(plain.predict(x) == y) < 0.995  # with well separated classes, any rule would agree


def test_router_matches_shrinkage_lda_of_scikit_learn_given_few_texts() -> None:
    data = sample_data({"first": 12, "second": 12, "third": 12}, d=50, separation=4.0)
    spread = residual_spread(data)
    x, y = stacked(data)
    ours = fit_to_model(data)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=ours.shrinkage, priors=[1 / 3] * 3)
    theirs.fit(x / spread, y)
    unseen, _ = stacked(sample_data(dict.fromkeys(data, 200), d=50, separation=4.0, seed=1))
    predicted = ours.route(unseen)
    assert predicted == theirs.predict(unseen / spread).tolist()
    assert set(predicted) == set(data)


def test_shrinkage_matches_oas_of_scikit_learn() -> None:
    data = sample_data({"first": 20, "second": 30}, d=15)
    residuals = np.concatenate([x - x.mean(axis=0) for x in data.values()]) / residual_spread(data)
    theirs = OAS(assume_centered=True).fit(residuals)
    assert fit_to_model(data).shrinkage == pytest.approx(theirs.shrinkage_)
    covariance, _ = shrink_covariance(residuals.T @ residuals / 50, 50)
    assert covariance == pytest.approx(theirs.covariance_)


def test_prediction_does_not_depend_on_the_scale_of_a_feature() -> None:
    data = sample_data({"first": 10, "second": 10}, d=30, separation=2.0)
    scale = np.ones(30)
    scale[3] = 1e4
    unseen, _ = stacked(sample_data({"first": 100, "second": 100}, d=30, separation=2.0, seed=2))
    scaled = fit_to_model({task: x * scale for task, x in data.items()})
    assert scaled.route(unseen * scale) == fit_to_model(data).route(unseen)


def test_ties_go_to_the_task_trained_first() -> None:
    features = sample_data({"any": 10}, d=4)["any"]
    for tasks in (("late", "early"), ("early", "late"), ("c", "a", "b")):
        same = Router.fit({task: TaskStatistics.of(features) for task in tasks})
        assert set(same.route(features)) == {tasks[0]}


def test_single_task_gets_every_text() -> None:
    data = sample_data({"only": 3}, d=4)
    assert fit_to_model(data).route(100 * np.ones((2, 4))) == ["only", "only"]


def test_one_text_per_task_is_enough_and_the_nearest_mean_wins() -> None:
    router = fit_to_model({"zero": np.zeros((1, 3)), "ten": np.full((1, 3), 10.0)})
    assert router.route(np.array([[1.0, 2.0, 0.0], [9.0, 8.0, 20.0]])) == ["zero", "ten"]


def test_constant_feature_has_no_effect() -> None:
    data = {
        task: np.c_[x, np.ones(len(x))]
        for task, x in sample_data({"a": 40, "b": 40}, d=3, separation=9.0).items()
    }
    x, y = stacked(data)
    assert np.mean(np.array(fit_to_model(data).route(x)) == y) > 0.9


def test_statistics_round_trip_bit_identically_through_arrays() -> None:
    before = TaskStatistics.of(sample_data({"a": 7}, d=5)["a"].astype(np.float32))
    after = TaskStatistics.from_arrays(before.to_arrays())
    assert after.n == 7
    assert after.mean.dtype == after.scatter.dtype == np.float64
    assert np.array_equal(after.mean, before.mean)
    assert np.array_equal(after.scatter, before.scatter)


def test_statistics_match_numpy_moments() -> None:
    features = sample_data({"a": 9}, d=4)["a"]
    found = TaskStatistics.of(features)
    assert found.mean == pytest.approx(features.mean(axis=0))
    assert found.scatter == pytest.approx(8 * np.cov(features, rowvar=False))
