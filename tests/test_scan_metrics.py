"""Metrics of a clustering against slow re-derivations, scikit-learn and limiting cases."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from xai.scan import metrics
from xai.scan.evaluation import Neighbours, evaluate


def _unit(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def _best_by_trying(table):
    """Accuracy of the best one-to-one matching, by trying all."""
    k, c = table.shape
    small, large = min(k, c), max(k, c)
    wide = table if k <= c else table.T
    return max(sum(wide[i, p[i]] for i in range(small)) for p in permutations(range(large), small)) / table.sum()


@pytest.mark.parametrize("k, c", [(3, 3), (5, 3), (2, 5), (1, 4)])
def test_matching_is_the_best_one_to_one_also_with_other_numbers_of_clusters_than_classes(k, c):
    random = np.random.default_rng(k + 10 * c)
    for _ in range(5):
        clusters, classes = random.integers(k, size=60), random.integers(c, size=60)
        table = metrics.contingency(clusters, classes, k, c)
        slow = np.zeros((k, c), int)
        for cluster, label in zip(clusters, classes, strict=True):
            slow[cluster, label] += 1
        np.testing.assert_array_equal(table, slow)
        matched = metrics.match_one_to_one(table)
        assert metrics.accuracy_score(table, matched) == pytest.approx(_best_by_trying(table))
        given = matched[matched >= 0]
        assert len(set(given)) == len(given) == min(k, c)


def test_a_leftover_cluster_counts_as_wrong_and_not_as_class_0():
    clusters, classes = np.repeat([0, 1, 2], [10, 10, 5]), np.repeat([0, 1, 0], [10, 10, 5])
    table = metrics.contingency(clusters, classes, 3, 2)
    matched = metrics.match_one_to_one(table)
    assert matched.tolist() == [0, 1, -1]
    assert metrics.accuracy_score(table, matched) == 20 / 25
    assert metrics.accuracy_score(table, metrics.match_majority(table)) == 1


def test_pictures_without_a_label_are_left_out():
    table = metrics.contingency(np.array([0, 0, 1, 1]), np.array([0, -1, 1, -1]), 2, 2)
    assert table.tolist() == [[1, 0], [0, 1]]
    purity = metrics.neighbour_purity(np.array([[0, 1], [2, 3]]), np.array([0, 1, -1, 1]), np.array([0, 1]), 2)
    assert purity == pytest.approx(2 / 3)


def test_an_empty_cluster_has_no_majority():
    assert metrics.match_majority(np.array([[0, 0], [1, 4]])).tolist() == [-1, 1]


def test_confusion_rates_add_up_by_class_also_when_classes_are_unbalanced():
    rates = metrics.confusion_rates(np.array([[90, 1], [10, 3], [0, 0]]))
    np.testing.assert_allclose(rates, [[0.9, 0.1, 0], [0.25, 0.75, 0]])


def test_top_five_works_with_fewer_than_five_clusters():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.5, 0.1, 0.4], [0.2, 0.7, 0.1]])
    matched = np.array([0, 1, -1])
    assert metrics.top_score(probabilities, np.array([1, 1, 0]), matched, best=2) == pytest.approx(2 / 3)
    assert metrics.top_score(probabilities, np.array([1, 1, 0]), matched) == 1


def test_agreement_of_equal_partitions_is_full_and_of_random_ones_none():
    random = np.random.default_rng(0)
    classes = random.integers(4, size=2000)
    same = metrics.measure_agreement(np.eye(4)[(classes + 1) % 4], classes, 4)
    assert (same.accuracy, same.nmi, same.ari, same.v) == pytest.approx((1, 1, 1, 1))
    chance = metrics.measure_agreement(np.eye(4)[random.integers(4, size=2000)], classes, 4)
    assert abs(chance.ari) < 0.01 and abs(chance.ami) < 0.01 and chance.accuracy < 0.32


def test_nmi_and_ari_are_those_of_their_definitions():
    random = np.random.default_rng(3)
    classes = random.integers(3, size=200)
    clusters = np.where(random.random(200) < 0.7, classes, random.integers(4, size=200))
    found = metrics.measure_agreement(np.eye(4)[clusters], classes, 3)
    joint = metrics.contingency(clusters, classes, 4, 3) / 200
    rows, columns = joint.sum(1), joint.sum(0)
    information = sum(
        joint[i, j] * np.log(joint[i, j] / rows[i] / columns[j]) for i in range(4) for j in range(3) if joint[i, j]
    )
    entropies = [-(each * np.log(each)).sum() for each in (rows, columns)]
    assert found.nmi == pytest.approx(information / np.mean(entropies))
    assert found.homogeneity == pytest.approx(information / entropies[1])
    pairs = np.array([[classes[i] == classes[j], clusters[i] == clusters[j]] for i in range(200) for j in range(i)])
    both, one, other = pairs.all(1).sum(), pairs[:, 0].sum(), pairs[:, 1].sum()
    expected = one * other / len(pairs)
    assert found.ari == pytest.approx((both - expected) / ((one + other) / 2 - expected))


def test_silhouettes_without_a_table_of_distances_are_those_of_scikit_learn():
    random = np.random.default_rng(1)
    features, clusters = _unit(random.normal(size=(90, 7))), np.r_[random.integers(3, size=89), 4]
    found = metrics.silhouette(features.astype(np.float32), clusters, 6, space="test")
    np.testing.assert_allclose(found.values, silhouette_samples(features, clusters, metric="cosine"), atol=1e-6)
    assert found.values[-1] == 0 and np.isnan(found.by_cluster[[3, 5]]).all()
    assert found.score == pytest.approx(found.values.mean())
    assert found.by_cluster[1] == pytest.approx(found.values[clusters == 1].mean())
    assert not (found.second == clusters).any() and set(found.second) <= {0, 1, 2, 4}


def test_a_single_cluster_has_no_silhouette():
    found = metrics.silhouette(_unit(np.ones((5, 2))), np.zeros(5, int), 3, space="test")
    assert np.isnan(found.score) and (found.second == -1).all()


def test_calibration_error_is_the_weighted_gap_per_bin():
    confidence = np.array([0.05, 0.95, 0.95, 0.9, 1.0])
    right = np.array([False, True, False, True, True])
    found = metrics.calibrate(confidence, right, bins=10)
    slow = 0.0
    for low in range(10):
        inside = [i for i in range(5) if low / 10 < confidence[i] <= (low + 1) / 10]
        if inside:
            slow += len(inside) / 5 * abs(confidence[inside].mean() - right[inside].mean())
    assert found.error == pytest.approx(slow)
    assert found.counts.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 1, 3]
    assert np.isnan(found.accuracy[1]) and found.accuracy[9] == pytest.approx(2 / 3)


def test_a_confident_liar_is_badly_calibrated():
    assert metrics.calibrate(np.ones(10), np.zeros(10, bool)).error == 1
    assert metrics.calibrate(np.ones(10), np.ones(10, bool)).error == 0


def test_spread_over_seeds_keeps_the_numbers_that_all_runs_have():
    found = metrics.summarise([{"acc": 0.8, "space": "x", "ari": None}, {"acc": 0.9, "space": "x", "ari": 0.1}])
    assert list(found) == ["acc"]
    assert found["acc"].mean == pytest.approx(0.85) and found["acc"].deviation == pytest.approx(0.0707, abs=1e-4)
    assert str(metrics.summarise([{"acc": 0.8}])["acc"]) == "0.800"


def test_an_evaluation_with_labels_tells_every_cluster():
    random = np.random.default_rng(2)
    classes = np.repeat([0, 1, 2], [20, 10, 30])
    probabilities = np.full((60, 4), 0.05)
    probabilities[np.arange(60), classes] = 0.85
    features = _unit(np.eye(3)[classes] + 0.1 * random.normal(size=(60, 3)))
    neighbours = Neighbours(np.argsort(-(features @ features.T), 1)[:, 1:6], classes, classes)
    found = evaluate(
        probabilities, classes=classes, class_names="abc", features=features, space="test", neighbours=neighbours
    )
    summary = found.summary()
    assert (summary["used_clusters"], summary["clusters"], summary["accuracy"]) == (3, 4, 1.0)
    assert summary["calibration_error"] == pytest.approx(0.15) and summary["neighbour_purity_5"] > 0.95
    assert "neighbour_purity_20" not in summary and summary["silhouette"] > 0.5
    table = found.table()
    assert table["class"].tolist() == ["a", "b", "c", ""] and table["pictures"].tolist() == [20, 10, 30, 0]
    np.testing.assert_allclose(found.confusion(), np.eye(3, 4))


def test_an_evaluation_works_without_labels_and_without_features():
    found = evaluate(np.eye(3)[[0, 0, 1]])
    assert found.confusion() is None and "accuracy" not in found.summary()
    assert list(found.table()) == ["cluster", "pictures", "confidence"]
    assert found.entropy == pytest.approx(-(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)) / np.log(3))
    assert evaluate(np.eye(3)[[0, 1]], classes=np.array([-1, -1]), class_names="a").agreement is None
