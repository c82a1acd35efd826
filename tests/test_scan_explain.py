"""Explanations of a clustering against slow re-derivations, autograd and cases whose answer is known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scan_runs import make_run

from xai import explain
from xai.errors import UserError
from xai.scan.explain import query, survey
from xai.scan.explain.contrast import contrast_model
from xai.scan.explain.counterfactual import nearest_elsewhere, smallest_edit
from xai.scan.explain.influence import pair_influence, pair_pulls, strongest_pairs
from xai.scan.explain.levels import measure_flow, trace_path
from xai.scan.explain.maps2d import lay_out, place_on
from xai.scan.explain.members import leads, neighbour_disagreement, rank_members
from xai.scan.explain.pointing import measure_pointing
from xai.scan.explain.replay import replay
from xai.scan.explain.stability import measure_stability
from xai.scan.explain.unlikeness import measure_unlikeness
from xai.scan.metrics import contingency, match_one_to_one


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("scan") / "run")


def _unit(values):
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def test_members_are_typical_undecided_or_far_from_all():
    features = _unit(np.array([[1, 0.0], [1, 0.1], [0.7, 0.7], [0, 1.0], [-1, 0.2]]))
    probabilities = np.array([[0.9, 0.1], [0.95, 0.05], [0.55, 0.45], [0.1, 0.9], [0.8, 0.2]])
    neighbours = np.array([[1, 2], [0, 2], [3, 1], [2, 1], [3, 2]])
    alike = np.take_along_axis(features @ features.T, neighbours, 1)
    found = rank_members(probabilities, features, neighbours, alike, 0)
    assert found.size == 4 and found.prototypes[0] == 1 and found.prototypes[-1] == 4
    assert found.borderline[0] == 2 and (found.second == 1).all()
    assert found.outliers[0] == 4 and set(found.outliers) == {0, 1, 2, 4}
    assert rank_members(probabilities[:, [1, 0, 0]] * [1, 1, 0], features, neighbours, alike, 2).size == 0
    np.testing.assert_allclose(neighbour_disagreement(probabilities.argmax(1), neighbours), [0, 0, 0.5, 1, 0.5])


def test_a_lead_is_the_gap_to_the_second():
    lead, second = leads(np.array([[0.2, 0.5, 0.3], [1.0, 0, 0]]))
    np.testing.assert_allclose(lead, [0.2, 1])
    assert second.tolist() == [2, 1]
    assert leads(np.ones((2, 1)))[0].tolist() == [1, 1]


def test_the_pull_of_a_pair_is_minus_the_gradient_of_its_loss():
    torch.manual_seed(0)
    logits, others = torch.randn(4, dtype=torch.float64, requires_grad=True), torch.randn(3, 4, dtype=torch.float64)
    p, q = logits.softmax(0), others.softmax(1)
    for row, neighbour in enumerate(q):
        (gradient,) = torch.autograd.grad(-(p @ neighbour).log(), logits, retain_graph=True)
        found = pair_pulls(p.detach().numpy(), q.numpy())
        np.testing.assert_allclose(found[row], -gradient.numpy(), atol=1e-12)
    np.testing.assert_allclose(found.sum(1), 0, atol=1e-12)


def test_the_influence_of_a_pair_is_one_step_on_the_weights_of_the_head():
    torch.manual_seed(1)
    features, query_ = F.normalize(torch.randn(6, 5, dtype=torch.float64), dim=1), torch.randn(5, dtype=torch.float64)
    weight = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    neighbours = np.array([[1, 2], [0, 3], [4, 5], [1, 0], [2, 5], [4, 3]])
    p = (features @ weight.T).softmax(1)
    found = pair_influence(query_.numpy(), 2, features.numpy(), neighbours, [p.detach().numpy()])
    for a in range(6):
        for place, b in enumerate(neighbours[a]):
            (gradient,) = torch.autograd.grad(-(p[a] @ p[b]).log(), weight, retain_graph=True)
            assert found[a, place] == pytest.approx(float(-gradient[2] @ query_), abs=1e-10)
    twice = pair_influence(query_.numpy(), 2, features.numpy(), neighbours, [p.detach().numpy()] * 2)
    np.testing.assert_allclose(twice, found)


def test_a_pair_mined_from_both_sides_counts_once():
    raised, lowered = strongest_pairs(np.array([[1.0], [2.0], [-4.0]]), np.array([[1], [0], [0]]), 5)
    assert raised == [(0, 1, 3.0)] and lowered == [(0, 2, -4.0)]


def test_nested_heads_are_nested_and_independent_ones_are_as_by_chance():
    random = np.random.default_rng(0)
    fine = random.integers(6, size=6000)
    flow = measure_flow(fine // 2, fine, 3, 6)
    assert (flow.nested, flow.explained) == pytest.approx((1, 1)) and flow.parents.tolist() == [0, 0, 1, 1, 2, 2]
    assert flow.counts[1, 3] == ((fine // 2 == 1) & (fine == 3)).sum()
    loose = measure_flow(random.integers(3, size=6000), fine, 3, 7)
    assert loose.explained < 0.01 and loose.nested - loose.by_chance < 0.05 and loose.parents[6] == -1


def test_a_path_tells_where_a_picture_leaves_its_company():
    train = {"k2": np.repeat([0, 1], [6, 4]), "k3": np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 2])}
    path = trace_path({"k2": np.array([0.1, 0.9]), "k3": np.array([0.2, 0.7, 0.1])}, train, [2, 3])
    assert [step.cluster for step in path] == [1, 1] and path[0].company is None
    assert path[1].company == 0.25 and not path[1].usual and path[1].second == 0


def test_consensus_and_stability_are_those_of_counting_all_pairs():
    random = np.random.default_rng(4)
    clusters = random.integers(3, size=40)
    others = [(clusters + 1) % 3, random.integers(3, size=40)]
    found = measure_stability(clusters, others, 3)
    slow, pairs = np.zeros((3, 3)), np.zeros((3, 3))
    for i in range(40):
        for j in range(40):
            if i != j:
                pairs[clusters[i], clusters[j]] += 1
                slow[clusters[i], clusters[j]] += np.mean([other[i] == other[j] for other in others])
    np.testing.assert_allclose(found.consensus, slow / pairs)
    assert (found.pictures >= 0.5).all()  # the first differs by names only
    assert np.isnan(measure_stability(clusters, [], 3).pictures).all()
    assert (measure_stability(clusters, others[:1], 3).clusters == 1).all()


def test_a_picture_far_from_all_is_called_unlike():
    random = np.random.default_rng(5)
    train = _unit(np.array([1.0, 0, 0]) + 0.2 * random.normal(size=(200, 3)))
    alike = -np.sort(-(train @ train.T), 1)[:, 1:6]
    assert not measure_unlikeness(train[0], train, alike).unlike
    far = measure_unlikeness(np.array([-1.0, 0, 0]), train, alike)
    assert far.unlike and far.lonelier == 0 and far.sentence.startswith("Unlike")


@pytest.mark.parametrize("kind", ["pca", "t-sne"])
def test_a_layout_keeps_groups_apart_and_places_further_pictures_with_theirs(kind):
    random = np.random.default_rng(6)
    group = np.repeat([0, 1, 2], 20)
    features = _unit(np.eye(3)[group] + 0.05 * random.normal(size=(60, 3)))
    made = lay_out(features, kind)
    centres = np.stack([made.places[group == g].mean(0) for g in range(3)])
    nearest = np.linalg.norm(made.places[:, None] - centres, axis=2).argmin(1)
    assert (nearest == group).all()
    place = np.array(place_on(made, features, features[45]))
    assert np.linalg.norm(centres - place, axis=1).argmin() == 2
    np.testing.assert_array_equal(lay_out(features, kind).places, made.places)


def test_pca_is_that_of_the_covariance_and_large_sets_are_sampled():
    features = _unit(np.random.default_rng(7).normal(size=(50, 6)))
    made = lay_out(features, most=30)
    assert len(made.pictures) == 30 and (np.diff(made.pictures) > 0).all()
    values = np.linalg.eigvalsh(np.cov(features[made.pictures].T))
    assert made.explained == pytest.approx(values[-2:].sum() / values.sum())
    np.testing.assert_allclose(place_on(made, features, features[made.pictures[3]]), made.places[3], atol=1e-6)
    with pytest.raises(UserError, match="layout"):
        lay_out(features, "umap")


def test_pointing_counts_peaks_energy_and_ties():
    mask = np.zeros((1, 4, 4), bool)
    mask[0, :2, :2] = True
    peak = np.zeros((1, 4, 4))
    peak[0, 0, 0], peak[0, 3, 3] = 2, 1
    found = measure_pointing(peak, mask)
    assert (found.hits, found.energy, found.area) == pytest.approx((1, 2 / 3, 0.25))
    assert measure_pointing(-peak, mask).hits == 0 and measure_pointing(0 * peak, mask).pictures == 0
    assert measure_pointing(np.ones((1, 4, 4)), mask).hits == 0.25
    assert measure_pointing(peak[:, ::-1, ::-1], mask).hits == 0


def _brightness(pixels):
    """Cluster 1 if the lower right quarter is bright on average."""
    bright = pixels[:, :, 4:, 4:].mean((1, 2, 3))
    return torch.stack([torch.full_like(bright, 0.4), bright, torch.full_like(bright, -1)], 1)


def test_the_smallest_edit_replaces_only_what_decides():
    dark, light = torch.zeros(3, 8, 8), torch.ones(3, 8, 8)
    edit = smallest_edit(_brightness, dark, light, grid=4)
    assert edit.flipped and (edit.before, edit.after) == (0, 1)
    assert edit.cells.sum() == 2 and not edit.cells[:2].any() and not edit.cells[:, :2].any()
    assert edit.share == 2 / 16 and torch.equal(
        edit.pixels.amax(0) > 0, torch.kron(torch.from_numpy(edit.cells), torch.ones(2, 2)).bool()
    )
    assert not smallest_edit(_brightness, dark, light, target=2, grid=4).flipped
    assert smallest_edit(_brightness, dark, light, target=1, grid=4).after == 1
    assert not smallest_edit(_brightness, dark, 0.2 * light, grid=4).flipped


def test_the_nearest_elsewhere_is_of_another_cluster():
    features = _unit(np.array([[1, 0.0], [1, 0.1], [1, 0.5], [0, 1]]))
    assert nearest_elsewhere(features[0], features, np.array([0, 0, 1, 1]), 0).tolist() == [2, 3]


def test_a_replay_tells_deaths_and_moves(run):
    found = replay(run.history, "k8")
    assert found.shares.shape == (3, 8) and found.deaths() == {5: ("heads-main", 2)}
    assert found.moved[0] == pytest.approx(np.abs(found.shares[1] - found.shares[0]).sum() / 2)
    assert replay(run.history, "k99") is None


def test_a_contrast_is_the_difference_of_two_clusters_for_every_method(run):
    model, picture = run.model(8), run.pictures("validation")[0]
    pair = contrast_model(model, 2, "cluster 5")
    assert pair.class_names == ("cluster 2 rather than cluster 5", "cluster 5 rather than cluster 2")
    assert list(pair.all_layers) == list(model.all_layers) and pair.fmt == model.fmt
    both = explain(model, picture, "grad_cam", target=[2, 5], relu=False, layer="layer2")
    made = explain(pair, picture, "grad_cam", target=[0, 1], relu=False, layer="layer2")
    np.testing.assert_allclose(made.map[0], both.map[0] - both.map[1], atol=1e-5)
    np.testing.assert_allclose(made.map[0], -made.map[1], atol=1e-6)
    odds = both.probabilities[0] / sum(both.probabilities)
    assert made.probabilities[0] == pytest.approx(odds, abs=1e-4)
    for method in ("saliency", "integrated_gradients", "occlusion", "lrp", "random"):
        assert explain(pair, picture, method, target=0).map.shape == (1, 32, 32)
    with pytest.raises(UserError, match="two different"):
        contrast_model(model, 1, 1)


def test_a_contrast_refuses_a_network_that_goes_on_after_its_last_linear_layer(run):
    from torch import nn

    from xai import load_model

    network = nn.Sequential(run.network(3), nn.Tanh())
    model = load_model(network, input_size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    with pytest.raises(UserError, match="goes on"):
        contrast_model(model, 0, 1)


def test_maps_differ_between_heads_and_clusters(run):
    picture = run.pictures("validation")[1]
    maps = explain(run.model(8), picture, "grad_cam", target=[0, 4], relu=False).map
    coarse = explain(run.model(3), picture, "grad_cam", target=0, relu=False).map[0]
    assert np.abs(maps[0] - maps[1]).max() > 0.01 and np.abs(maps[0] - coarse).max() > 0.01


def test_a_survey_names_clusters_by_words_and_measures_both_splits(run):
    found = survey.Survey(run, run.head(8), survey.find_terms(run))
    shapes = run.pictures("train").label_names
    assert sum(shape in found.title(cluster) for cluster, shape in enumerate(shapes)) >= 6
    assert found.level == "shape" and survey.Survey(run, run.head(3)).level == "family"
    assert found.evaluation.agreement.accuracy > 0.4 > 1 / 8
    assert found.measure("validation").sizes.sum() == 48
    assert found.stability.replicas == 2 and np.nanmin(found.stability.clusters) > 0.3
    assert survey.Survey(run, run.head(8)).title(3) == "Cluster 3"
    with pytest.raises(UserError, match="clusters 0 to 7"):
        found.members(8)


def test_flows_go_from_coarse_to_fine(run):
    flows = survey.measure_flows(run)
    assert list(flows) == [("k3", "k8")] and flows["k3", "k8"].counts.sum() == 240
    assert flows["k3", "k8"].nested > flows["k3", "k8"].by_chance


def test_a_query_of_a_training_picture_finds_itself(run):
    pictures = run.pictures("train")
    found = query.tell(run, pictures[7])
    assert found.found.neighbours[0] == 7 and found.found.similarities[0] == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(found.probabilities["k8"], run.probabilities(8, "train")[7], atol=2e-3)
    assert [step.head for step in found.path] == ["k3", "k8"] and not found.found.unlikeness.unlike
    raised, lowered = query.find_pairs(found, run.head(8))
    assert raised[0][2] > 0 > lowered[0][2]


def test_replicas_vote_on_a_picture(run):
    found = query.tell(run, run.pictures("train")[7])
    agree, others = query.count_votes(found, run.head(8))
    same = match_one_to_one(contingency(run.assigned("k8", "train"), run.assigned("k8-2", "train"), 8, 8))
    assert others == 1 and agree == (same[found.cluster("k8")] == run.assigned("k8-2", "train")[7])


def test_a_counterfactual_changes_the_cluster(run):
    found = query.tell(run, run.pictures("validation")[3])
    made = query.find_counterfactual(found, run.head(8))
    own = found.cluster("k8")
    assert made.neighbour_cluster != own and run.probabilities(8, "train")[made.neighbour].argmax() != own
    if made.edit.flipped:
        scores = run.network(8)(run.normalise(made.edit.pixels[None]))
        assert int(scores.argmax()) == made.edit.after != own


def test_random_maps_point_at_objects_as_often_as_chance(run):
    found = survey.point_at_objects(run, run.head(8), "random", count=48)
    assert abs(found.hits - found.area) < 0.2 and found.pictures == 48
    assert survey.point_at_objects(run, run.head(8), count=48).area == pytest.approx(found.area)
