"""LIME against the lime package, closed forms and its theory: xai.compute.lime and its parts."""

import numpy as np
import pytest
import torch
from linear import linear_trace, random_weights, shares
from networks import ResidualNet, classifier_of, random_pixels, seeded
from scipy.special import softmax
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from xai.compute import lime_sampling, lime_smooth
from xai.compute.fills import make_fill
from xai.compute.kernel_shap import all_coalitions
from xai.compute.lime import keep_strongest, lime
from xai.compute.lime_sampling import (
    AUTO_LIMIT,
    Behind,
    Neighbours,
    Plan,
    ask_neighbours,
    checkpoints,
    draw_coalitions,
    ranking_reliability,
    read_samples,
)
from xai.compute.lime_smooth import centres
from xai.compute.lime_solve import REGRESSORS, SELECTIONS, Fit, fit_surrogate, kernel_weights, scikit_learn_regressor
from xai.compute.masking import MaskedPicture
from xai.compute.segments import Segmenter, segment
from xai.compute.trace import trace_pixels
from xai.errors import Cancelled, UserError

GRID = {"segmenter": "grid", "n_segments": 16}
CUT = Segmenter("grid", n_segments=16)


@pytest.fixture(scope="module")
def trace():
    return trace_pixels(classifier_of(seeded(ResidualNet)), random_pixels(), [])


def package_kernel(distances, kernel_width=0.25):
    return np.sqrt(np.exp(-(distances**2) / kernel_width**2))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("kernel_width", [0.1, 0.25, 2.0])
def test_weights_are_those_of_the_package(distance, kernel_width):
    from sklearn.metrics import pairwise_distances

    samples = draw_coalitions(50, 7, seed=0)
    samples[1] = False
    data = samples.numpy().astype(int)
    distances = pairwise_distances(data, data[:1], metric=distance).ravel()
    found = kernel_weights(samples, kernel_width, distance)
    assert np.allclose(found, package_kernel(distances, kernel_width), atol=1e-12)
    assert found[0] == 1


def noisy_line(features=12, count=200):
    """Samples, outputs with interactions and noise, and weights."""
    generator = torch.Generator().manual_seed(5)
    samples = draw_coalitions(count, features, seed=3).double()
    slopes = torch.randn(features, generator=generator, dtype=torch.float64)
    outputs = samples @ slopes + samples[:, 0] * samples[:, 1] + torch.randn(count, generator=generator).double() / 4
    return samples, outputs, kernel_weights(samples, 0.25, "cosine")


@pytest.mark.parametrize("regressor", REGRESSORS)
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("num_features", [0, 3, 8])
def test_linear_models_equal_those_of_the_package(regressor, selection, num_features):
    from lime.lime_base import LimeBase
    from sklearn.metrics import pairwise_distances

    samples, outputs, weights = noisy_line()
    how = Fit(regressor, 1.0, selection, num_features)
    data = samples.numpy()
    intercept, pairs, r2, prediction = LimeBase(package_kernel, random_state=0).explain_instance_with_data(
        data,
        outputs[:, None].numpy(),
        pairwise_distances(data, data[:1], metric="cosine").ravel(),
        0,
        num_features or 12,
        feature_selection=selection,
        model_regressor=None if regressor == "ridge" else scikit_learn_regressor(how, weights),
    )
    fitted = fit_surrogate(samples, outputs, weights, how)
    expected = np.zeros(12)
    for feature, value in pairs:
        expected[feature] = value
    assert set(fitted.selected.tolist()) == {int(feature) for feature, _ in pairs}
    assert len(pairs) <= (num_features or 12) or selection == "none"
    assert np.abs(fitted.coefficients.numpy() - expected).max() < 1e-6
    assert fitted.intercept == pytest.approx(intercept, abs=1e-6)
    assert fitted.r2 == pytest.approx(r2, abs=1e-6)
    assert fitted.prediction == pytest.approx(prediction.item(), abs=1e-6)


class GivenCoins:
    """Stands in for the package's generator and hands it our coin flips."""

    def __init__(self, coalitions):
        self.flips = coalitions.numpy().astype(int)

    def randint(self, low, high, size):
        assert (low, high, size) == (0, 2, self.flips.size)
        return self.flips.ravel()


@pytest.mark.parametrize("fill", ["mean", "black"])
@pytest.mark.parametrize("how", [CUT, Segmenter("slic", n_segments=16), Segmenter(max_dist=6.0, kernel_size=2.0)])
def test_maps_equal_those_of_the_package_on_the_same_samples(trace, fill, how):
    from lime.lime_image import LimeImageExplainer

    smooth = torch.nn.functional.interpolate(random_pixels(1, 4), 16, mode="bilinear")
    trace = trace_pixels(trace.classifier, smooth, [])
    segments = segment(smooth[0], how)
    features = int(segments.max()) + 1
    assert features > 2
    explainer = LimeImageExplainer()
    explainer.random_state = GivenCoins(draw_coalitions(120, features, seed=4))
    expected = explainer.explain_instance(
        smooth[0].permute(1, 2, 0).numpy(),
        lambda images: trace.score(torch.from_numpy(images).permute(0, 3, 1, 2)).softmax(1).numpy(),
        labels=(3, 1),
        top_labels=None,
        hide_color=None if fill == "mean" else 0,
        num_samples=120,
        segmentation_fn=lambda image: segments.numpy(),
        random_seed=0,
    )
    options = {"kernel_size": how.kernel_size, "max_dist": how.max_dist, "n_segments": how.n_segments}
    found = lime(trace, [3, 1], seed=4, samples=120, fill=fill, segmenter=how.name, smooth=False, **options)
    for k, target in enumerate((3, 1)):
        for feature, value in expected.local_exp[target]:
            assert found.details.coefficients[k, feature] == pytest.approx(value, abs=1e-6)
            assert found.maps[k][segments == feature].numpy() == pytest.approx(value, abs=1e-6)
        assert found.details.intercepts[k] == pytest.approx(expected.intercept[target], abs=1e-6)
    assert found.details.r2[1] == pytest.approx(expected.score, abs=1e-4)  # of the last label only
    assert found.details.predictions[1] == pytest.approx(expected.local_pred.item(), abs=1e-6)


def test_the_package_as_engine_agrees_with_our_own(trace):
    ours, package = (lime(trace, [3, 1], engine=engine, samples=800, **GRID) for engine in ("torch", "lime"))
    assert package.details.samples == (800, 800)
    assert torch.equal(package.details.segments, ours.details.segments)
    for k in range(2):
        pair = [each.details.coefficients[k] for each in (ours, package)]
        spread = sum(each.details.standard_errors[k] for each in (ours, package))
        assert torch.corrcoef(torch.stack(pair))[0, 1] > 0.95
        assert ((pair[0] - pair[1]).abs() < 3 * spread).all()
    assert torch.allclose(package.details.outputs, ours.details.outputs, atol=1e-6)


# --- theory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["mean", "black", "noise"])
@pytest.mark.parametrize("how", [Segmenter("slic", n_segments=16), CUT])
def test_coefficients_of_a_linear_network_are_the_shares_of_the_superpixels(fill, how):
    """Weight times (pixel - fill), summed: Garreau and Mardaoui 2021."""
    smooth = torch.nn.functional.interpolate(random_pixels(1, 4), 16, mode="bilinear")
    weights = random_weights()
    options = {"segmenter": how.name, "n_segments": how.n_segments, "fill": fill, "output": "score"}
    details = lime(linear_trace(weights, smooth, 0.7), [2, 0], alpha=1e-9, samples=150, seed=2, **options).details
    hidden = make_fill(smooth[0], fill, segments=details.segments, seed=2)
    expected = shares(weights, smooth[0], hidden, details.segments)[[2, 0]]
    assert details.coefficients.shape[1] > 4
    assert torch.allclose(details.coefficients, expected, atol=1e-5)
    assert torch.allclose(details.r2, torch.ones(2).double(), atol=1e-6)
    assert details.standard_errors.max() < 1e-5
    assert torch.allclose(details.predictions, details.outputs, atol=1e-5)
    assert torch.allclose(details.intercepts, details.outputs - expected.sum(1), atol=1e-5)


def test_only_the_superpixel_that_is_read_counts_also_the_last_of_slic():
    pixels = torch.zeros(1, 3, 16, 24)
    for j in range(6):
        pixels[:, j % 3, :, 4 * j : 4 * j + 4] = 1 - j / 10
    how = Segmenter("slic", n_segments=6)
    segments = segment(pixels[0], how)
    last = int(segments.max())
    assert last >= 3
    weights = torch.stack([(segments == j).float().expand(3, -1, -1) for j in range(last + 1)])
    found = lime(linear_trace(weights, pixels), range(last + 1), output="score", fill="black", samples=200,
                 segmenter="slic", n_segments=6).details.coefficients  # fmt: skip
    assert (found.diagonal() > 1).all()
    assert (found - found.diagonal().diag()).abs().max() < 0.02 * found.max()


def errors_seen_and_told(trace, seeds, **options):
    made = [lime(trace, [3, 1], seed=seed, **options).details for seed in range(seeds)]
    seen = torch.stack([each.coefficients for each in made]).std(0).mean()
    return seen, torch.stack([each.standard_errors for each in made]).mean()


def test_standard_errors_say_how_seeds_differ(trace):
    options = {"samples": 150, "alpha": 1e-6, **GRID}
    seen, told = errors_seen_and_told(trace, 30, smooth=False, **options)
    assert 0.75 < seen / told < 1.33
    more = lime(trace, [3, 1], smooth=False, **{**options, "samples": 600}).details.standard_errors.mean()
    assert 1.6 < told / more < 2.5  # one over the root of n
    smooth_seen, smooth_told = errors_seen_and_told(trace, 15, **options)
    assert smooth_seen < 0.8 * seen  # seeds matter less
    assert 0.4 < smooth_seen / smooth_told < 1.1  # what it says of itself is on the safe side


@pytest.mark.parametrize("regressor", ["lasso", "bayesian_ridge"])
def test_bootstrapped_errors_are_like_those_of_ridge(trace, regressor):
    options = {"samples": 200, "output": "score", **GRID}
    ridge = lime(trace, [3], alpha=1e-6, smooth=False, **options).details
    other = lime(trace, [3], regressor=regressor, alpha=1e-6, **options).details
    assert torch.allclose(other.coefficients, ridge.coefficients, atol=3 * ridge.standard_errors.max())
    assert 0.6 < other.standard_errors.mean() / ridge.standard_errors.mean() < 1.6


@pytest.fixture(scope="module")
def limit(trace):
    """The coefficients of LIME over all 512 coalitions of nine superpixels, none drawn by chance."""
    segments = segment(trace.pixels[0].detach(), Segmenter("grid", n_segments=9))
    shown = make_fill(trace.pixels[0].detach(), "mean", segments=segments)
    masked = MaskedPicture(trace, trace.pixels[0].detach(), shown, (3,), "probability")
    coalitions = all_coalitions(9)
    outputs = torch.cat(list(masked.answers_to_coalitions(segments, coalitions)))[:, 0]
    weights = kernel_weights(coalitions, 0.25, "cosine")
    return fit_surrogate(coalitions.double(), outputs, weights, Fit(alpha=1e-9)).coefficients


@pytest.mark.parametrize("smooth", [False, True])
def test_with_many_samples_it_comes_to_the_limit_of_lime(trace, limit, smooth):
    found = lime(trace, [3], segmenter="grid", n_segments=9, samples=2000, alpha=1e-9, smooth=smooth).details
    assert len(limit) == 9
    assert (found.coefficients[0] - limit).abs().max() < 0.03 * limit.std()


def test_pairs_and_smoothing_come_nearer_to_it_with_few(trace, limit):
    plan = Plan(60, False, 0.25, "cosine", 0)

    def error(samples, scores, smooth):
        outputs = scores.double().softmax(1)[:, [3]]
        behind = Behind(scores, (3,), "probability", centres(segments)) if smooth else None
        known = Neighbours(samples.double(), outputs, plan.weigh(samples), (60,), plan, behind)
        found = known.fit_target(0, Fit(alpha=1e-9))
        return float((found.coefficients - limit).square().mean())

    coalitions = all_coalitions(9)
    segments = segment(trace.pixels[0].detach(), Segmenter("grid", n_segments=9))
    shown = make_fill(trace.pixels[0].detach(), "mean", segments=segments)
    masked = MaskedPicture(trace, trace.pixels[0].detach(), shown, (3,), "probability")
    scores = torch.cat(list(masked.scores_of_coalitions(segments, coalitions)))
    place = {tuple(row): i for i, row in enumerate(coalitions.tolist())}
    errors = []
    for seed in range(30):
        pairs = draw_coalitions(60, 9, seed)
        single = torch.randint(2, (60, 9), generator=torch.Generator().manual_seed(seed)).bool()
        heard = [scores[[place[tuple(row)] for row in each.tolist()]] for each in (pairs, single)]
        errors.append([error(single, heard[1], False), error(pairs, heard[0], False), error(pairs, heard[0], True)])
    alone, paired, smoothed = np.mean(errors, 0)
    assert paired < 0.8 * alone and smoothed < 0.5 * paired, (alone, paired, smoothed)


def test_samples_beyond_those_that_are_learnt_still_count(trace, limit, monkeypatch):
    """Few are learnt, and learnt with a lasting error; the other samples take it away."""
    monkeypatch.setattr(lime_sampling, "MOST", 40)
    options = {"segmenter": "grid", "n_segments": 9, "alpha": 1e-9}
    errors = []
    for seed in range(5):
        made = [lime(trace, [3], seed=seed, samples=count, **options).details for count in (40, 1500)]
        assert made[1].samples == (1500,) and torch.isfinite(made[1].standard_errors).all()
        errors.append([float((each.coefficients[0] - limit).square().mean()) for each in made])
    few, many = np.mean(errors, 0)
    assert many < few / 9  # the error itself is less than a third


def heard(features=12, count=60, classes=5):
    """Samples, and scores in which neighbours act together."""
    samples = draw_coalitions(count, features, seed=2).double()
    generator = torch.Generator().manual_seed(3)
    signs = 2 * samples - 1
    both = torch.stack([signs[:, i] * signs[:, i + 1] for i in range(features - 1)], 1)
    scores = torch.cat([samples, both], 1) @ torch.randn(2 * features - 1, classes, generator=generator).double()
    places = centres(torch.arange(features).view(3, features // 3))
    weights = kernel_weights(samples, 0.25, "cosine")
    return lime_smooth.Told(samples, scores.softmax(1)[:, 2], weights, scores, 2, "probability", places)


def test_the_process_expects_what_a_slow_derivation_does():
    told, alpha = heard(), 0.7
    slopes = [Ridge(alpha).fit(told.samples, scores, told.weights).coef_ for scores in told.scores.T.numpy()]
    variance = np.square(slopes).sum(0)
    windows = [((i + 0.5) / 3, (j + 0.5) / 3) for i in range(3) for j in range(3)]

    def likeness(one, other):
        near = np.exp([[-((p - q).square().sum()) / 0.08 for q in told.places] for p in torch.tensor(windows)])
        held = near / near.sum(0) * variance / variance.sum()
        agree = ((2 * one - 1) * (2 * other - 1)).numpy()
        cosines = held @ agree / held.sum(1)
        return 10 + 1.5 * (held @ agree).sum() + 3 * (held.sum(1) * np.exp(2 * (cosines - 1))).sum()

    rows = list(told.samples)
    kernel = np.array([[likeness(one, other) for other in rows] for one in rows])
    signals = (told.scores - told.scores.mean(1, keepdim=True)).numpy()
    mean = signals.mean(0)

    def answers(noise, known, asked):
        inner = kernel[np.ix_(known, known)] + noise * np.eye(len(known))
        pulls = kernel[np.ix_(asked, known)] @ np.linalg.solve(inner, signals[known] - mean)
        return softmax(pulls + mean, axis=1)[:, 2]

    everyone = np.arange(len(rows))
    alone = {
        noise: np.concatenate([answers(noise, np.delete(everyone, i), [i]) for i in everyone])
        for noise in lime_smooth.NOISES
    }
    best = min(alone, key=lambda noise: (told.weights.numpy() * (told.outputs.numpy() - alone[noise]) ** 2).sum())
    process, expected = lime_smooth._learn(told, alpha)
    assert np.allclose(expected, alone[best], atol=1e-9)
    assert np.allclose(process.answer(told.samples), answers(best, everyone, everyone), atol=1e-5)
    assert np.std(alone[best]) > 0.05


def test_scores_that_are_summed_up_keep_the_probability():
    scores = 3 * torch.randn(50, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for target in (0, int(scores.softmax(1).mean(0).argmin()), 299):
        found = lime_smooth._sum_up(scores, target)
        assert found.shape == (50, lime_smooth.CLASSES + 1)
        assert torch.allclose(found.softmax(1)[:, 0], scores.softmax(1)[:, target], rtol=1e-9)
    few = lime_smooth._sum_up(scores[:, :1], 0)
    assert few.shape == (50, 1) and torch.equal(few, torch.zeros(50, 1).double())


def test_centres_are_in_shares_of_a_side():
    found = centres(torch.tensor([[0, 0, 1, 1], [0, 0, 2, 2]]))
    assert torch.allclose(found, torch.tensor([[0.5, 0.25], [0.25, 0.75], [0.75, 0.75]]).double())


def test_superpixels_that_were_not_selected_have_no_error(trace):
    details = lime(trace, [3], samples=100, num_features=4, **GRID).details
    assert (details.coefficients != 0).sum() == 4
    assert torch.equal(details.standard_errors.isnan(), details.coefficients == 0)
    assert lime(trace, [3], samples=17, **GRID).details.standard_errors.isnan().all()  # as many as coefficients


# --- how many samples ------------------------------------------------------------------------------------------------


def test_auto_stops_early_and_ranks_like_the_converged_run(trace):
    auto = lime(trace, [3], **GRID).details
    assert auto.samples[0] < AUTO_LIMIT / 4
    converged = lime(trace, [3], samples=4000, seed=1, **GRID).details
    assert spearmanr(auto.coefficients[0], converged.coefficients[0]).statistic > 0.85


class Game:
    """35 superpixels with random effects, alone and three at a time, in place of a network."""

    targets, output = (0,), "score"

    def __init__(self, interaction, seed):
        generator = torch.Generator().manual_seed(seed)
        self.effects = torch.randn(35, generator=generator, dtype=torch.float64)
        self.sets = torch.rand(400, 35, generator=generator).argsort(1)[:, :3]
        self.joint = interaction * torch.randn(400, generator=generator, dtype=torch.float64)

    def scores_of_coalitions(self, segments, coalitions):
        on = coalitions.double()
        yield (on @ self.effects + (2 * on - 1)[:, self.sets].prod(2) @ self.joint)[:, None]


def test_auto_asks_for_more_where_superpixels_act_together():
    plan = (AUTO_LIMIT, True, 0.25, "cosine")
    counts = []
    for interaction in (0.02, 0.3):
        games = [Game(interaction, seed) for seed in range(4)]
        known = [ask_neighbours(game, torch.arange(35)[None], Plan(*plan, seed=1), on_check=None, on_progress=None)
                 for game in games]  # fmt: skip
        found = [each.fit(Fit())[0].coefficients for each in known]
        ranked = [spearmanr(one, game.effects).statistic for one, game in zip(found, games, strict=True)]
        assert np.mean(ranked) > 0.85, interaction
        counts.append(np.mean([each.used[0] for each in known]))
    assert counts[0] < 200 < 500 < counts[1] < AUTO_LIMIT


def test_auto_takes_as_long_as_there_is_no_ranking(monkeypatch):
    """What the network says has nothing to do with the superpixels, or is always the same."""
    samples = draw_coalitions(1000, 16, seed=0).double()
    weights = kernel_weights(samples, 0.25, "cosine")
    noise = torch.randn(1000, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ranked = samples @ torch.arange(16.0).double() + 0.1 * noise[:, 0]
    outputs = torch.cat([noise, ranked[:, None], torch.full((1000, 1), 0.3)], 1)
    for smooth in (False, True):
        behind = Behind(outputs, tuple(range(8)), "score", centres(torch.arange(16).view(4, 4))) if smooth else None
        known = Neighbours(samples, outputs, weights, (1000,) * 8, Plan(1000, True, 0.25, "cosine", 0), behind)
        assert np.mean([ranking_reliability(known, k) for k in range(6)]) < 0.4
        assert ranking_reliability(known, 6) > 0.95
        assert ranking_reliability(known, 7) == 1.0
    monkeypatch.setattr(MaskedPicture, "scores", lambda self, keep: torch.rand(len(keep), 3))
    monkeypatch.setattr("xai.compute.lime_sampling.AUTO_LIMIT", 300)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = lime(linear_trace(random_weights(), random_pixels()), [0], **GRID)
    assert made.details.samples == (300,)


def test_a_target_stops_by_itself():
    """One class is easy, the other is not: asked together or alone, the same comes out."""
    weights = torch.stack([random_weights()[0], torch.zeros(3, 16, 16)])
    weights[0, :, :4, :4] += 1.0
    trace = linear_trace(weights, random_pixels())
    scores = MaskedPicture.scores

    def with_noise(self, keep):
        shown = scores(self, keep).clone()
        shown[:, 1] += (keep[:, 5, 5] ^ keep[:, 9, 2]).to(shown)
        return shown

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MaskedPicture, "scores", with_noise)
        both, *alone = (lime(trace, targets, output="score", **GRID) for targets in ([0, 1], [0], [1]))
    assert both.details.samples[0] < both.details.samples[1]
    for k, single in enumerate(alone):
        assert both.details.samples[k] == single.details.samples[0]
        assert torch.allclose(both.maps[k], single.maps[0], rtol=1e-5, atol=1e-8)


def test_the_first_samples_do_not_depend_on_their_number():
    many = draw_coalitions(500, 13, seed=9)
    assert many[0].all() and 0.45 < many[1:].double().mean() < 0.55
    for count in (1, 2, 77, 499):
        assert torch.equal(draw_coalitions(count, 13, seed=9), many[:count])
    assert not torch.equal(draw_coalitions(500, 13, seed=8), many)
    assert checkpoints(150) == [100, 125, 150] and checkpoints(50) == [50]


@pytest.mark.parametrize("bad", ["many", 1, "-5", 2.5, ""])
def test_numbers_of_samples_are_checked(bad):
    assert read_samples("Auto") == (AUTO_LIMIT, True) and read_samples(" 70 ") == read_samples(70) == (70, False)
    with pytest.raises(UserError, match="samples must be auto or a whole number"):
        read_samples(bad)


# --- options and contract --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"engine": "shap"}, "engine"),
        ({"regressor": "tree"}, "regressor"),
        ({"feature_selection": "best"}, "feature_selection"),
        ({"distance": "l1"}, "distance"),
        ({"output": "logit"}, "output"),
        ({"segmenter": "voronoi"}, "segmenter"),
    ],
)
def test_unknown_choices_list_the_valid_ones(trace, options, match):
    with pytest.raises(UserError, match=rf"Unknown {match} .*Choose one of"):
        lime(trace, [0], samples=10, **{**GRID, **options})


def test_the_strongest_superpixels_are_kept():
    values = torch.tensor([[0.5, -2.0, 1.0, 0.1], [-1.0, -3.0, 0.2, 0.0]])
    assert torch.equal(keep_strongest(values, 0, False), values)
    assert keep_strongest(values, 2, False).tolist() == [[0, -2, 1, 0], [-1, -3, 0, 0]]
    assert torch.equal(keep_strongest(values, 2, True), torch.tensor([[0.5, 0, 1, 0], [0, 0, 0.2, 0]]))
    assert torch.equal(keep_strongest(values, 9, True), values.clamp_min(0))


def test_options_of_the_map_leave_the_details_alone(trace):
    whole, few = (
        lime(trace, [3], samples=60, **options, **GRID) for options in ({}, {"top": 3, "positive_only": True})
    )
    assert torch.equal(whole.details.coefficients, few.details.coefficients)
    assert few.maps.min() == 0 and few.maps.unique().numel() == 4
    assert torch.equal(few.maps[few.maps > 0], whole.maps[few.maps > 0])


def test_maps_are_repeatable_and_follow_the_seed(trace):
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, again, other = (lime(trace, [1, 3], samples=50, fill="noise", seed=seed, **GRID) for seed in (1, 1, 2))
    assert first.maps.shape == (2, 16, 16) and first.maps.dtype == torch.float32
    assert not first.maps.requires_grad and first.maps.device.type == "cpu"
    assert torch.equal(first.maps, again.maps) and not torch.equal(first.maps, other.maps)
    assert torch.equal(state[0], torch.get_rng_state()) and np.array_equal(state[1], np.random.get_state()[1])


@pytest.mark.parametrize("engine", ["torch", "lime"])
def test_several_classes_and_several_pictures_equal_one_by_one(engine):
    classifier = classifier_of(seeded(ResidualNet))
    pixels, targets = random_pixels(3), [4, 0, 2]
    options = {"samples": 60, "engine": engine, **GRID}
    single = trace_pixels(classifier, pixels[:1], [])
    together = lime(single, targets, **options)
    batch = lime(trace_pixels(classifier, pixels, []), targets, **options)
    for i, target in enumerate(targets):
        alone = lime(single, [target], **options)
        assert torch.allclose(together.maps[i], alone.maps[0], rtol=1e-5, atol=1e-8)
        alone = lime(trace_pixels(classifier, pixels[i : i + 1], []), [target], **options)
        assert torch.allclose(batch.maps[i], alone.maps[0], rtol=1e-5, atol=1e-8)
        assert torch.equal(batch.details.each[i].segments, alone.details.segments)


@pytest.mark.parametrize("engine", ["torch", "lime"])
def test_progress_is_told_with_maps_on_the_way_and_can_stop_the_work(trace, engine):
    told = []
    made = lime(trace, [1, 3], samples=300, engine=engine, on_progress=lambda *each: told.append(each), **GRID)
    fractions, maps = zip(*told, strict=True)
    assert list(fractions) == sorted(fractions) and 0 < fractions[0] < 0.1 and fractions[-1] == 1
    shown = [each for each in maps if each is not None]
    assert torch.equal(shown[-1], made.maps) and all(each.shape == made.maps.shape for each in shown)
    assert len(shown) > 4 or engine == "lime"

    def stop(fraction, partial):
        raise Cancelled

    with pytest.raises(Cancelled):
        lime(trace, [1], engine=engine, on_progress=stop, **GRID)


def test_a_picture_that_is_one_superpixel(trace):
    made = lime(trace, [1, 3], segmenter="grid", n_segments=1)
    assert torch.isfinite(made.maps).all() and made.details.coefficients.shape == (2, 1)
    assert torch.isfinite(made.details.standard_errors).all()
