"""Runs: stopping and going on, the gate, files that do not belong together, odd data, commands."""

from __future__ import annotations

import copy
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from sklearn.metrics import mutual_info_score

import xai
from xai.cli import main
from xai.cli.scan import parse_heads
from xai.cli.scan_asking import parse_range
from xai.errors import UserError
from xai.scan.augment import draw, random_views
from xai.scan.choose_k import choose_k
from xai.scan.config import (
    GLYPHS,
    PLAIN,
    FineTuning,
    Group,
    HeadTraining,
    Pretext,
    ScanConfig,
    SelfLabelling,
    changed,
)
from xai.scan.explain.query import tell
from xai.scan.finetune import ClusterNetwork
from xai.scan.losses import nt_xent
from xai.scan.nets import HeadBank, NormedProjector
from xai.scan.plan import fitted, stages_of
from xai.scan.presets import PRESETS
from xai.scan.pretext import BYOLStage, PretextStage, new_network
from xai.scan.query import query
from xai.scan.run import ScanRun, embed_pixels, open_run, read_group
from xai.scan.runner import resume, start
from xai.scan.scene import follow_schedule, open_scene, rate_at
from xai.scan.selflabel import SelfLabelStage, confident
from xai.scan.status import read_status
from xai.scan.store import RunStore
from xai.scan.usage import HeadMeasures, as_row, choose_head, measure_heads, passes
from xai.training.distributed import Processes

TINY = ScanConfig(
    preset="test",
    architecture="micro",
    glyphs=(64, 24),
    neighbours=4,
    embedding_views=2,
    settle=True,
    pretext=Pretext(epochs=2, batch=32, optimizer="adamw", rate=2e-3, projection=16, monitor=1, views=GLYPHS),
    groups=(
        Group(
            heads=(3, 5),
            replicas=2,
            tries=3,
            training=HeadTraining(epochs=4, batch=32, cached=1, views=GLYPHS),
            finetune=FineTuning(epochs=2, batch=32, memory=64, views=GLYPHS),
            selflabel=SelfLabelling(epochs=2, batch=32, least=2, looks=2, views=GLYPHS),
        ),
    ),
)
HEADS_ONLY = replace(TINY, groups=(replace(TINY.groups[0], finetune=None, selflabel=None),))
ARTEFACTS = ("pretext", "features", "neighbours", "heads-main", "network-main", "predictions-main")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run through all stages."""
    folder = tmp_path_factory.mktemp("scan") / "run"
    assert start(TINY, folder).finished
    return folder


@pytest.fixture(scope="module")
def run(finished: Path) -> ScanRun:
    return open_run(finished)


def _digests(folder: Path) -> dict[str, str]:
    state = json.loads((folder / "state.json").read_text())
    return {name: entry["digest"] for name, entry in state["artefacts"].items()}


def _losses(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_a_run_holds_what_was_asked_for(run: ScanRun) -> None:
    assert [head.name for head in run.heads] == ["k3", "k3-2", "k5", "k5-2"]
    assert run.head().name == "k5" and run.head(3).clusters == 3 and run.head("k3-2").replica == 1
    with pytest.raises(UserError, match="Unknown head 'k4'"):
        run.head("k4")
    for split, count in (("train", 64), ("validation", 24)):
        assert run.features(split).shape == (count, 16)
        np.testing.assert_allclose(np.linalg.norm(run.features(split), axis=1), 1, atol=1e-5)
        indices, similarities = run.neighbours(split)
        assert indices.shape == similarities.shape == (count, 4) and indices.dtype == np.int32
        np.testing.assert_allclose(run.probabilities("k5", split).sum(1), 1, atol=1e-5)
    assert not (run.neighbours("train")[0] == np.arange(64)[:, None]).any()
    assert sorted(_digests(run.folder)) == sorted(ARTEFACTS)  # the cache is gone


def test_what_is_stored_is_what_the_networks_say(run: ScanRun) -> None:
    picture = run.pictures("validation")[3]
    np.testing.assert_allclose(run.embed(picture), run.features("validation")[3], atol=2e-3)
    assigned = run.assign(picture)
    for head in run.heads:
        np.testing.assert_allclose(assigned[head.name], run.probabilities(head, "validation")[3], atol=2e-3)
        with torch.no_grad():
            logits = run.network(head)(run.normalise(run.prepare(picture)))[0]
        np.testing.assert_allclose(logits.softmax(0).numpy(), assigned[head.name], atol=1e-5)


@pytest.mark.parametrize("space", ["projector", "backbone"])
def test_an_embedding_is_the_mean_direction_over_views_that_all_pictures_share(run: ScanRun, space: str) -> None:
    config = replace(run.config, space=space, embedding_views=3)
    pixels = torch.from_numpy(np.stack([run.pictures("train")[place] for place in range(4)])).permute(0, 3, 1, 2)
    found = embed_pixels(run.pretext(), pixels, config)
    assert torch.allclose(found.norm(dim=1), torch.ones(4))
    for place, picture in enumerate(pixels):  # alone, view by view
        total = torch.zeros(found.shape[1])
        for view in range(3):
            seen = random_views(picture[None], GLYPHS, draw((config.seed, 5, view), 1, range(1), torch.device("cpu")))
            features = run.pretext().backbone(run.normalise(seen))
            vector = (run.pretext().projector(features) if space == "projector" else features)[0]
            total += vector / vector.norm()
        assert torch.allclose(found[place], total / total.norm(), atol=1e-5)
    plain = embed_pixels(run.pretext(), pixels, replace(config, embedding_views=0))
    assert (plain - found).abs().max() > 1e-3


def test_a_teacher_that_looks_at_plain_views_says_what_one_look_says(finished: Path) -> None:
    """The mean over two views that change nothing is the answer to the plain picture; over real views it is not."""
    store = RunStore.open(finished)
    scene = open_scene(store, torch.device("cpu"), Processes())
    near = store.read("neighbours")["validation/indices"].long()
    taught = {}
    for name, plan in {
        "once": SelfLabelling(looks=0, views=PLAIN),
        "twice": SelfLabelling(looks=2, views=PLAIN),
        "turned": SelfLabelling(looks=2, views=GLYPHS),
    }.items():
        network = ClusterNetwork(*read_group(store, "main"))
        stage = SelfLabelStage(scene, replace(TINY.groups[0], selflabel=plan), 0, network, near)
        stage.open(0)
        taught[name] = stage.lessons
    answers = stage.teacher.settled(scene).answers(scene)[1]  # (N, R, k) of each size
    best = torch.cat([each.softmax(-1).topk(2, dim=-1).values.transpose(0, 1) for each in answers])  # (H, N, 2)
    decided = best[..., 0] - best[..., 1] > 1e-4  # else two clusters are equally likely, but for rounding
    assert decided.float().mean() > 0.95
    assert torch.equal(taught["once"].clusters[decided], taught["twice"].clusters[decided])
    assert torch.equal(taught["once"].confident[decided], taught["twice"].confident[decided])
    assert (taught["once"].clusters != taught["turned"].clusters).float().mean() > 0.1


def test_the_rate_rises_and_falls_to_nothing() -> None:
    rates = [rate_at(2.0, 0.1, step, 100) for step in range(101)]
    assert rates[:10] == sorted(rates[:10]) and rates[10] == max(rates) == 2.0 and rates[100] == 0.0
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[55] == pytest.approx(1.0)
    assert rates[0] == pytest.approx(2 / 11)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    follow_schedule(optimizer, FineTuning(rate=2.0, warmup=0.1), 55, 100)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1.0)


def test_the_head_is_chosen_that_others_agree_with_among_those_that_score_about_as_well() -> None:
    """In numbers of the clusters that differ from head to head, and with a head that nobody shares scoring best."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randint(4, (200,), generator=generator)
    lonely = torch.randint(4, (200,), generator=generator)
    renamed = torch.tensor([2, 0, 3, 1])[shared]
    clusters = torch.stack([lonely, renamed, shared, lonely], 1)  # (N, R)

    def choose(scores: list[float], some: torch.Tensor) -> int:
        return choose_head([HeadMeasures(score, 0.5, 0.9, 4, ()) for score in scores], some)

    assert choose([0.100, 0.112, 0.110, 0.200], clusters) == 2  # the fourth is out, the second scores worse
    assert choose([0.100, 0.110, 0.112, 0.200], clusters) == 1
    assert choose([0.10, 0.20, 0.21, 0.11], clusters) == 0
    assert choose([0.11, 0.10], clusters[:, :2]) == 1  # two agree with each other alike
    assert choose([0.10], clusters[:, :1]) == 0


def test_the_best_heads_are_kept_as_they_were() -> None:
    torch.manual_seed(0)
    bank, features = HeadBank(4, (3, 5), 3), torch.randn(6, 4)
    before = bank(features)
    bank.reorder(5, [2, 0, 1])
    three, five = bank.first(2)(features)
    assert torch.equal(three, before[0][:, :2]) and torch.equal(five, before[1][:, [2, 0]])


def test_every_method_can_explain_a_cluster(run: ScanRun) -> None:
    model = run.model("k5")
    assert model.class_names == tuple(f"cluster {number}" for number in range(5)) and model.trained
    maps = xai.explain(model, run.pictures("train")[0], "grad_cam", target=[0, "cluster 3"]).map
    assert maps.shape == (2, 32, 32) and np.abs(maps[0] - maps[1]).max() > 0
    predicted = xai.predict(model, run.pictures("train")[0], k=1)[0]
    assert predicted[1] == pytest.approx(float(run.probabilities("k5", "train")[0].max()), abs=2e-3)


def test_the_best_replica_comes_first_in_the_history_too(run: ScanRun) -> None:
    rows = [row for row in run.history if row["stage"] == "heads-main"]
    assert all(sorted(row["score"]) == ["k3", "k3-2", "k5", "k5-2"] == sorted(row["usage"]) for row in rows)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["score"]["k5"] <= rows[-1]["score"]["k5-2"] and rows[-1]["score"]["k3"] <= rows[-1]["score"]["k3-2"]
    for row in run.history:
        for shares in row.get("usage", {}).values():
            assert sum(shares) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("interruptions", [1, 5])
def test_a_stopped_run_ends_as_one_that_never_stopped(finished: Path, tmp_path: Path, interruptions: int) -> None:
    """Stopped after every `interruptions` steps, at whatever stage that is."""
    done = 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done % (3 + interruptions) == 0

    outcome = start(TINY, tmp_path / "run", stop=stop)
    calls = 1
    while not outcome.finished:
        outcome, calls = resume(tmp_path / "run", stop=stop), calls + 1
    assert calls > 3
    assert _digests(tmp_path / "run") == _digests(finished)
    assert _losses(tmp_path / "run") == _losses(finished)


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_never_stopped(tmp_path: Path) -> None:
    """SIGKILL at random moments of the smoke preset, on the command line."""
    often = "import xai.scan.loop; xai.scan.loop._CHECKPOINT_SECONDS = 0.2"
    command = [sys.executable, "-c", f"import sys; from xai.cli import main; {often}; sys.exit(main())", "scan"]
    new = ["train", "--preset", "smoke", "--threads", "1", "--quiet", "--device", "cpu", "--output"]
    subprocess.run([*command, *new, str(tmp_path / "whole")], check=True)
    killed, moments = tmp_path / "killed", np.random.default_rng(0).uniform(0.1, 1.5, 5)
    process = subprocess.Popen([*command, *new, str(killed)])
    for moment in moments:
        deadline = time.monotonic() + 120
        while not any(killed.glob("checkpoint*")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = subprocess.Popen([*command, "resume", str(killed), "--quiet"])
    assert process.wait() == 0
    assert _digests(killed) == _digests(tmp_path / "whole")


def test_a_checkpoint_of_another_stage_or_a_damaged_one_is_not_used(finished: Path, tmp_path: Path) -> None:
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps == 3

    start(TINY, tmp_path / "run", stop=stop)
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    assert checkpoint.is_file()
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    assert resume(tmp_path / "run").finished  # from the beginning of the stage
    assert _digests(tmp_path / "run") == _digests(finished)


def test_a_file_that_was_changed_is_refused(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert main(["scan", "export", str(finished), "--output", str(copy), "--json"]) == 0
    features = copy / "features.safetensors"
    features.write_bytes(features.read_bytes()[:-1] + b"\x00")
    with pytest.raises(UserError, match=r"features.safetensors' is not the one that the run wrote"):
        open_run(copy).features("train")
    state = json.loads((copy / "state.json").read_text())
    state["artefacts"]["pretext"]["digest"] = "another"
    (copy / "state.json").write_text(json.dumps(state))
    with pytest.raises(UserError, match="was computed from another 'pretext'"):
        open_run(copy)
    with pytest.raises(UserError, match="holds no clustering run"):
        open_run(tmp_path)


def _measures(views: float, replicas: float, used: int) -> list[list[HeadMeasures]]:
    return [[HeadMeasures(0.5, 0.6, 0.9, used, (), views, replicas)]]


def test_the_gate_lets_nothing_through_that_got_worse() -> None:
    old = _measures(0.5, 0.6, 8)
    assert passes(_measures(0.6, 0.6, 8), old)
    for worse in (_measures(0.4, 0.7, 8), _measures(0.6, 0.5, 8), _measures(0.6, 0.7, 7), old):
        assert not passes(worse, old)
    two = old + old
    assert passes(_measures(0.6, 0.6, 8) + _measures(0.495, 0.6, 8), two)  # both sizes together gained
    for views, replicas, used in ((0.48, 0.6, 8), (0.495, 0.55, 8), (0.6, 0.6, 7)):
        assert not passes(_measures(0.6, 0.6, 8) + _measures(views, replicas, used), two)
    unmeasured = [[HeadMeasures(0.1, 0.9, 0.9, 8, ())]]
    assert not passes(unmeasured, old) and not passes(old, unmeasured)


def test_stable_clusters_are_found_from_views_and_by_replicas() -> None:
    random = np.random.default_rng(0)
    plain = torch.from_numpy(random.integers(0, 4, (400, 3)))
    plain[:, 1] = (plain[:, 0] + 1) % 4  # the same clusters under other numbers
    logits = [torch.nn.functional.one_hot(plain, 4).float()]
    near = torch.zeros(400, 1, dtype=torch.int64)
    seen = plain.unsqueeze(1).repeat(1, 2, 1)
    seen[:200, :, 2] = 0  # half of the views say nothing
    viewed = [torch.nn.functional.one_hot(seen, 4).float()]
    [found] = measure_heads(logits, logits, near, viewed=viewed)
    for place, each in enumerate(found):
        expected = mutual_info_score(plain[:, place].repeat_interleave(2), seen[:, :, place].flatten()) / np.log(4)
        assert each.views == pytest.approx(expected, abs=1e-6)
    assert found[0].views > 0.99 and found[2].views < 0.7
    assert found[0].replicas == pytest.approx(found[1].replicas) == pytest.approx(0.5, abs=0.01)
    assert found[2].replicas == pytest.approx(0, abs=0.01)
    [[alone]] = measure_heads([logits[0][:, :1]], [logits[0][:, :1]], near, viewed=[viewed[0][:, :, :1]])
    assert alone.replicas == 1


def test_fine_tuning_and_self_labelling_never_make_worse_what_they_ask_for(run: ScanRun) -> None:
    for stage, measure, sign in (("finetune-main", "score", 1), ("selflabel-main", "views", -1)):
        facts = run.store.facts(stage)
        assert sign * facts[measure] <= sign * facts[f"{measure}_before"]
        kept = [row["epoch"] for row in run.history if row["stage"] == stage and row["kept"]]
        assert facts["kept_epoch"] == max(kept, default=0)


def test_a_teacher_that_learns_nonsense_is_turned_away(tmp_path: Path) -> None:
    """A rate that destroys the network: what came in must come out."""
    wild = replace(TINY.groups[0], finetune=None, selflabel=SelfLabelling(epochs=2, batch=32, rate=5.0, average=0.0))
    start(replace(TINY, groups=(wild,)), tmp_path / "run")
    opened = open_run(tmp_path / "run")
    assert opened.store.facts("selflabel-main")["kept_epoch"] == 0
    start(replace(HEADS_ONLY), tmp_path / "plain")
    plain = open_run(tmp_path / "plain")
    np.testing.assert_allclose(
        opened.probabilities("k5", "validation"), plain.probabilities("k5", "validation"), atol=5e-3
    )


def test_without_a_gate_the_last_teacher_stays(tmp_path: Path) -> None:
    bad = SelfLabelling(epochs=2, batch=32, rate=0.3, threshold=0.5, average=0.5, gate=False, views=GLYPHS)
    group = replace(TINY.groups[0], finetune=None, selflabel=bad)
    start(replace(TINY, groups=(group,)), tmp_path / "run")
    rows = [row for row in open_run(tmp_path / "run").history if row["stage"] == "selflabel-main"]
    facts = RunStore.open(tmp_path / "run").facts("selflabel-main")
    assert [row["kept"] for row in rows] == [True, True] and facts["kept_epoch"] == 2
    # The network is stored in 16 bits after it was measured.
    first = [rows[-1]["score"][name] for name in ("k3", "k5")]
    assert facts["score"] == pytest.approx(sum(first) / 2, abs=1e-6)


def test_without_a_gate_the_best_epoch_of_fine_tuning_stays(tmp_path: Path) -> None:
    bad = FineTuning(epochs=2, batch=32, rate=0.05, views=GLYPHS)
    kept = {}
    for gate in (True, False):
        group = replace(TINY.groups[0], finetune=replace(bad, gate=gate), selflabel=None)
        start(replace(TINY, groups=(group,)), tmp_path / str(gate))
        store = RunStore.open(tmp_path / str(gate))
        rows = [row for row in store.history() if row["stage"] == "finetune-main"]
        scores = [sum(min(row["score"][k], row["score"][f"{k}-2"]) for k in ("k3", "k5")) for row in rows]
        kept[gate] = store.facts("finetune-main")
    assert kept[True]["kept_epoch"] == 0 and kept[True]["score"] == pytest.approx(kept[True]["score_before"])
    assert kept[False]["kept_epoch"] == 1 + int(np.argmin(scores))
    assert kept[False]["score"] == pytest.approx(min(scores) / 2) and kept[False]["score"] > kept[True]["score"]


def test_heads_stand_by_their_score_after_fine_tuning(tmp_path: Path) -> None:
    plan = FineTuning(epochs=2, batch=32, rate=0.01, gate=False, views=GLYPHS)
    group = replace(TINY.groups[0], replicas=3, finetune=plan, selflabel=None)
    start(replace(TINY, groups=(group,)), tmp_path / "run")
    opened = open_run(tmp_path / "run")
    kept = opened.store.facts("finetune-main")["kept_epoch"]
    row = next(row for row in opened.history if row["stage"] == "finetune-main" and row["epoch"] == kept)
    scene = open_scene(opened.store, torch.device("cpu"), Processes())
    network = ClusterNetwork(*read_group(opened.store, "main"))
    near = opened.store.read("neighbours")["validation/indices"].long()
    for size, replicas in zip((3, 5), network.measure(scene, near), strict=True):
        told = [row["score"][name] for name in (f"k{size}", f"k{size}-2", f"k{size}-3")]
        assert told == sorted(told)
        # The network is stored in 16 bits after it was measured.
        assert [each.score for each in replicas] == pytest.approx(told, abs=5e-3)


def test_settled_norms_are_those_of_plain_pictures(finished: Path) -> None:
    scene = open_scene(RunStore.open(finished), torch.device("cpu"), Processes())
    network = scene.ready(ClusterNetwork(*read_group(scene.store, "main")))
    network.backbone.bn1.running_mean.add_(1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    settled = network.settled(scene)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (TINY.mean, TINY.std))
    with torch.no_grad():
        maps = network.backbone.conv1((scene.train.float() / 255 - mean) / std)
    norm = settled.backbone.bn1
    torch.testing.assert_close(norm.running_mean, maps.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(norm.running_var, maps.var((0, 2, 3)), rtol=1e-3, atol=1e-4)
    assert not any(module.training for module in settled.modules()) and norm.momentum == 0.1


BYOL = replace(
    TINY,
    pretext=Pretext("byol", epochs=2, batch=32, optimizer="adamw", rate=2e-3, average=0.9, hidden=24, projection=16),
    groups=(replace(TINY.groups[0], finetune=None, selflabel=None),),
)


def test_the_target_of_byol_follows_ever_more_slowly(tmp_path: Path) -> None:
    scene = open_scene(RunStore.create(tmp_path, BYOL, {}), torch.device("cpu"), Processes())
    assert BYOL.pretext is not None
    stage = BYOLStage(scene, BYOL.pretext, new_network(scene))
    stage.open(0)
    expected = stage.target.backbone.conv1.weight.clone()
    assert torch.equal(expected, stage.network.backbone.conv1.weight)
    kept = (1 - 0.1 * (np.cos(np.pi / 4) + 1) / 2, 1 - 0.1 / 2, 1 - 0.1 * (np.cos(np.pi * 3 / 4) + 1) / 2, 1.0)
    for place, keep in enumerate(kept):  # two epochs of two steps
        loss = float(stage.step(place // 2, place % 2)["loss"])
        expected = keep * expected + (1 - keep) * stage.network.backbone.conv1.weight.detach()
        assert 0 < loss < 2
        torch.testing.assert_close(stage.target.backbone.conv1.weight, expected)
    assert not torch.equal(expected, stage.network.backbone.conv1.weight)
    assert all(weight.grad is None for weight in stage.target.parameters())


def test_a_run_with_byol_stops_and_goes_on(tmp_path: Path) -> None:
    start(BYOL, tmp_path / "whole")
    asked = iter([False, True])
    assert not start(BYOL, tmp_path / "parts", stop=lambda: next(asked, False)).finished
    assert resume(tmp_path / "parts").finished
    assert _digests(tmp_path / "parts") == _digests(tmp_path / "whole")
    opened = open_run(tmp_path / "whole")
    assert isinstance(opened.pretext().projector, NormedProjector) and opened.features("train").shape == (64, 16)
    with pytest.raises(UserError, match="Unknown method of the pretext task 'moco'"):
        changed(TINY, "pretext.method", "moco")
    with pytest.raises(UserError, match=r"BYOL takes 2 views of a picture in a step \(pretext.looks\), not 3"):
        changed(BYOL, "pretext.looks", "3")


def test_a_step_with_more_views_draws_another_one_each_time(tmp_path: Path) -> None:
    config = changed(TINY, "pretext.looks", "3")
    scene = open_scene(RunStore.create(tmp_path, config, {}), torch.device("cpu"), Processes())
    stage = PretextStage(scene, config.pretext, new_network(scene))
    asked: list[torch.Tensor] = []
    stage.network.register_forward_pre_hook(lambda _, given: asked.append(given[0].detach().clone()))
    stage.open(0)
    before = copy.deepcopy(stage.network)
    loss = float(stage.step(0, 0)["loss"])
    looks = asked[0].chunk(3)
    assert len({float(look[0].sum()) for look in looks}) == 3 and len(looks[0]) == config.pretext.batch
    with torch.no_grad():
        vectors = before(asked[0]).chunk(3)
    assert loss == pytest.approx(float(nt_xent(vectors, config.pretext.temperature)), rel=1e-5)
    for too_few in ("1", "0"):
        with pytest.raises(UserError, match="number of views in a step must lie between 2 and 100"):
            changed(TINY, "pretext.looks", too_few)


def test_watched_accuracy_is_that_of_the_best_match() -> None:
    logits = torch.eye(3)[[2, 2, 0, 0, 1, 1]].unsqueeze(1) * 9  # six pictures, one head of three clusters
    labels, near = torch.tensor([0, 0, 1, 2, 2, 2]), torch.arange(6).unsqueeze(1)
    [[told]] = measure_heads([logits], [logits], near, labels)
    assert told.accuracy == pytest.approx(5 / 6)
    assert as_row([[told]], [3])["accuracy"] == {"k3": told.accuracy}
    [[untold]] = measure_heads([logits], [logits], near, torch.tensor([0, 0, 1, 1, 1, 1]))  # two classes
    assert untold.accuracy is None and "accuracy" not in as_row([[untold]], [3])


def test_every_cluster_teaches_and_the_threshold_rises() -> None:
    sure = torch.tensor([0.99, 0.9, 0.8, 0.7, 0.4, 0.35, 0.3])
    cluster = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    plan = SelfLabelling(epochs=3, threshold=0.95, start=0.5, least=1)
    first, last = (confident(sure, cluster, plan, epoch, 3).tolist() for epoch in (0, 2))
    assert first == [True, True, False, False, True, True, False]  # the surer half of each
    assert last == [True, False, False, False, True, False, False]  # over 0.95, and the surest one


@pytest.mark.slow
def test_two_processes_make_the_gradients_of_one(tmp_path: Path) -> None:
    """Gloo: negatives and entropy over the whole batch. Without batch norms, which gloo cannot synchronise."""
    script = Path(__file__).with_name("scan_gradients.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for count in ("1", "2"):
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count]
        subprocess.run(
            [*launch, str(script), str(tmp_path / f"{count}.pt")],
            env=environment,
            check=True,
            capture_output=True,
            timeout=300,
        )
    one, two = (torch.load(tmp_path / f"{count}.pt", weights_only=True) for count in "12")
    assert one.keys() == two.keys() and len(one) > 12
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6, msg=name)
        assert one[name].abs().max() > 0, name


def _odd_pictures(folder: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        height, width = generator.integers(20, 60, 2)
        mode, channels = (("RGB", 3), ("L", 1), ("RGBA", 4))[number % 3]
        pixels = generator.integers(0, 255, (height, width, channels), dtype=np.uint8).squeeze()
        PIL.Image.fromarray(pixels, mode).save(folder / f"{number:03}.png")
    (folder / "broken.png").write_bytes(b"no picture")


def test_unlabelled_pictures_of_all_sizes_and_kinds_with_a_broken_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _odd_pictures(tmp_path / "odd", 40)
    config = replace(HEADS_ONLY, data=str(tmp_path / "odd"), size=24)
    outcome = start(config, tmp_path / "run")
    assert outcome.finished
    assert [note for note in outcome.notes if note.startswith("Left out broken.png: ")]
    opened = open_run(tmp_path / "run")
    assert [Path(name).name for name, _ in opened.store.about["data"]["skipped"]] == ["broken.png"]
    assert opened.pictures("train").labels is None and opened.pictures("train")[0].shape == (24, 24, 3)
    assert main(["scan", "evaluate", str(tmp_path / "run")]) == 0
    assert "labels: none" in capsys.readouterr().out
    (tmp_path / "labels.csv").write_text("name,label\n" + "".join(f"{n:03}.png,{'ab'[n % 2]}\n" for n in range(40)))
    assert main(["scan", "evaluate", str(tmp_path / "run"), "--labels", str(tmp_path / "labels.csv"), "--json"]) == 0
    assert {"accuracy", "nmi"} <= set(json.loads(capsys.readouterr().out)["measured"][0])
    (tmp_path / "odd").rename(tmp_path / "gone")  # the run does not need the folder any more
    assert len(query(opened, opened.pictures("validation")[0]).neighbours) == 10


def test_batches_larger_than_the_data_shrink_and_say_so() -> None:
    config, notes = fitted(TINY, 20)
    assert config.pretext is not None and config.pretext.batch == 20
    assert notes[0] == "The pretext batch of 32 is larger than the 20 training pictures; 20 it is."
    with pytest.raises(UserError, match="5 training pictures are too few for 4 neighbours each"):
        fitted(TINY, 5)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"data": "nowhere"}, "Unknown folder or data set 'nowhere'"),
        ({"data": ""}, "Name the pictures with --data"),
        ({"architecture": "resnet19"}, "Unknown architecture 'resnet19'"),
    ],
)
def test_mistakes_in_a_plan_are_one_sentence(settings: dict, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        start(replace(TINY, **settings), tmp_path / "run")


def test_too_few_pictures_are_one_sentence(tmp_path: Path) -> None:
    _odd_pictures(tmp_path / "few", 5)
    with pytest.raises(UserError, match=r"holds 6 pictures .* needs at least 16"):
        start(replace(TINY, data=str(tmp_path / "few")), tmp_path / "run")


def test_packed_arrays_with_labels(tmp_path: Path) -> None:
    glyphs = open_run_pictures(40)
    np.savez(tmp_path / "packed.npz", images=glyphs, labels=np.arange(40) % 4)
    start(replace(HEADS_ONLY, data=str(tmp_path / "packed.npz")), tmp_path / "run")
    pictures = open_run(tmp_path / "run").pictures("train")
    assert pictures.labels is not None and pictures.label_names == ("class 0", "class 1", "class 2", "class 3")
    place = int(pictures.names[5].removeprefix("picture "))
    assert (pictures[5] == glyphs[place]).all() and pictures.labels[5] == place % 4


def open_run_pictures(count: int) -> np.ndarray:
    from xai.scan.glyphs import Glyphs

    glyphs = Glyphs(count)
    return np.stack([glyphs.picture(place) for place in range(count)])


def test_more_heads_on_a_finished_run(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["scan", "retrain-heads", str(finished), "--heads", "4", "--replicas", "1", "--epochs", "2"]
    assert main([*asked, "--output", str(tmp_path / "more"), "--quiet"]) == 0
    opened = open_run(tmp_path / "more")
    assert [head.name for head in opened.heads] == ["k3", "k3-2", "k5", "k5-2", "k4"]
    answer = query(opened, opened.pictures("train")[0], heads=[opened.head("k4"), opened.head("k3")], count=3)
    assert [each.head.name for each in answer.heads] == ["k4", "k3"]
    story = tell(opened, opened.pictures("train")[0])
    assert [step.head for step in story.path] == list(story.probabilities) == ["k3", "k4", "k5"]
    for before, step in itertools.pairwise(story.path):
        inside = opened.assigned(step.head, "train") == step.cluster
        assert step.company == pytest.approx((opened.assigned(before.head, "train")[inside] == before.cluster).mean())
    np.testing.assert_allclose(opened.probabilities("k5", "train"), open_run(finished).probabilities("k5", "train"))
    assert main([*asked[:4], "5", "--output", str(tmp_path / "again")]) == 2
    assert "has heads of 5 clusters already" in capsys.readouterr().err


def test_a_query_finds_itself_and_says_when_it_is_unlike_the_training_pictures(run: ScanRun) -> None:
    answer = query(run, run.pictures("train")[7], count=4)
    assert answer.neighbours[0] == 7 and answer.similarities[0] == pytest.approx(1, abs=1e-3)
    assert list(answer.neighbours[1:]) == list(run.neighbours("train")[0][7, :3])
    for each in answer.heads:
        shared = (run.probabilities(each.head, "train")[answer.neighbours].argmax(1) == each.cluster).mean()
        assert each.shared == pytest.approx(shared) and each.probability >= each.second_probability
    with pytest.raises(UserError, match="ask for 1 to 64, not 65"):
        query(run, run.pictures("train")[7], count=65)


def test_query_on_the_command_line(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["scan", "query", str(finished), "cat,coffee", "-c", "3,k5-2", "-k", "3"]
    assert main([*asked, "--output", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["picture"] for each in told] == ["cat", "coffee"]
    assert [each["head"] for each in told[0]["clusters"]] == ["k3", "k5-2"] and len(told[0]["neighbours"]) == 3
    assert sorted(path.name for path in (tmp_path / "out").glob("cat*.png")) == [
        "cat_k3_grad_cam_plus_plus.png",
        "cat_k5-2_grad_cam_plus_plus.png",
        "cat_neighbours.png",
    ]
    assert main([*asked, "--perf"]) == 0
    assert "s for clusters and neighbours" in capsys.readouterr().out
    assert main(["scan", "query", str(finished), "nothing.png"]) == 2
    assert main(["scan", "query", str(finished), "cat", "-c", "9"]) == 2
    assert "Choose one of: k3, k3-2, k5, k5-2" in capsys.readouterr().err


def test_status_tells_what_is_done_and_what_is_left(finished: Path, tmp_path: Path) -> None:
    said = read_status(finished)
    assert said["finished"] and said["seconds_left"] is None
    assert [stage["name"] for stage in said["stages"]] == stages_of(TINY)
    steps = iter(range(100))
    start(TINY, tmp_path / "run", stop=lambda: next(steps) == 2)
    said = read_status(tmp_path / "run")
    assert not said["finished"] and said["seconds_left"] > 0
    assert [stage["state"] for stage in said["stages"]][:2] == ["running", "waiting"]
    with pytest.raises(UserError, match="is not finished"):
        from xai.scan.moving import add_heads

        add_heads(tmp_path / "run", (7,))


def test_a_head_as_a_model_file_and_arrays(finished: Path, tmp_path: Path) -> None:
    assert main(["scan", "export", str(finished), "--head", "k5", "--output", str(tmp_path / "k5"), "--json"]) == 0
    model, run = xai.load_model(str(tmp_path / "k5"), device="cpu"), open_run(finished)
    picture = run.pictures("train")[0]
    found = {name: share for name, share, _ in xai.predict(model, picture, k=5)}
    for number, share in enumerate(run.assign(picture)["k5"]):
        assert found[f"cluster {number}"] == pytest.approx(float(share), abs=1e-4)
    assert main(["scan", "export", str(finished), "--output", str(tmp_path / "all.npz")]) == 0
    with np.load(tmp_path / "all.npz") as arrays:
        assert arrays["train_k3"].shape == (64, 3) and arrays["validation_labels"].shape == (24,)


def test_weights_from_elsewhere_start_a_run(finished: Path, tmp_path: Path) -> None:
    assert main(["scan", "export", str(finished), "--head", "k5", "--output", str(tmp_path / "k5"), "--json"]) == 0
    asked = ["scan", "import", str(tmp_path / "k5" / "model.safetensors"), "--data", "glyphs", "--size", "32"]
    asked += [
        "--architecture",
        "micro",
        "--heads",
        "4",
        "--replicas",
        "1",
        "--output",
        str(tmp_path / "run"),
        "--quiet",
    ]
    asked += ["--set", "glyphs=64,24", "--set", "neighbours=4", "--set", "groups.training.epochs=2"]
    assert main(asked) == 0
    opened, network = open_run(tmp_path / "run"), open_run(finished).network("k5")
    imported = opened.pretext().backbone.state_dict()
    for name, value in network.state_dict().items():
        if not name.startswith("fc."):
            torch.testing.assert_close(imported[name], value, rtol=1e-3, atol=1e-5)
    assert opened.features("train").shape == (64, 64)


def test_numbers_of_clusters_are_compared_without_labels(finished: Path) -> None:
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    found = choose_k(finished, (2, 4), replicas=2, epochs=3)
    assert [each.clusters for each in found] == [2, 4]
    for each in found:
        assert 0 <= each.entropy <= 1 + 1e-9 and -1 <= each.silhouette <= 1 and each.stability <= 1
        assert each.code_length >= -1e-6 and each.used <= each.clusters
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


@pytest.mark.parametrize("name", PRESETS)
def test_presets_come_back_from_json(name: str) -> None:
    config = PRESETS[name].config
    assert ScanConfig.from_json(json.loads(json.dumps(config.as_json()))) == config


def test_lists_and_settings_of_the_command_line() -> None:
    assert parse_heads("5,20") == (5, 20) and parse_range("4:6") == (4, 5, 6) and parse_range("3,9") == (3, 9)
    for low, high in ((2, 6), (2, 12), (2, 64), (10, 19), (10, 21)):
        sizes = parse_range(f"{low}:{high}")
        assert (sizes[0], sizes[-1], len(set(sizes))) == (low, high, min(10, high - low + 1))
        assert list(sizes) == sorted(sizes)
    for wrong in ("5,", "a", "1,2", "3,3"):
        with pytest.raises(UserError, match="--heads takes"):
            parse_heads(wrong)
    with pytest.raises(UserError, match="--range takes"):
        parse_range("9:3")
    assert changed(TINY, "pretext.rate", "0.5").pretext.rate == 0.5
    assert changed(TINY, "groups.finetune.epochs", "7").groups[0].finetune.epochs == 7
    with pytest.raises(UserError, match="Unknown entry of a run's configuration 'rat'"):
        changed(TINY, "pretext.rat", "1")
    with pytest.raises(UserError, match="number of random operations must lie between 0 and 10, not 11"):
        changed(TINY, "pretext.views.operations", "11")
    with pytest.raises(UserError, match=r"value of epochs must be of type int, not 'x'"):
        changed(TINY, "pretext.epochs", "x")
