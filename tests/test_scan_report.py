"""The page about a run: complete, offline, accessible by its texts; and the command that writes it."""

import itertools
import json
import re

import numpy as np
import pytest
from scan_runs import make_run

from xai import clusters as views
from xai.cli import main
from xai.report.checks import check_page
from xai.report.clusters import Wanted, write_report
from xai.report.lessons import scan_clusters as look
from xai.scan.explain import survey
from xai.scan.explain.survey import Survey, find_terms
from xai.scan.words import Terms


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("scan") / "run")


def test_the_page_holds_everything_and_asks_for_nothing(run):
    told = []
    wanted = Wanted((0, 4), visualise=False, pointing=10)
    page = write_report(run, run.head(8), find_terms(run), wanted, lambda part, text: told.append(part))
    assert told[0] == 0 and told[-1] == 1 and told == sorted(told)
    for heading in (
        "How good is the clustering?",
        "How do the heads nest?",
        "Where do the pictures lie?",
        "Borderline",
    ):
        assert heading in page
    assert page.count('<h2 id="cluster-') == 2 and check_page(page) == []
    assert all(re.findall(r'<img [^>]*alt="([^"]*)"', page)) and page.count("<img") > 10
    assert "http" not in re.sub(r"https?://www\.w3\.org/\S*", "", page)


def test_a_head_of_another_size_has_its_own_page(run):
    page = write_report(run, run.head(3), None, Wanted((1,), pointing=0))
    assert "Cluster 1" in page and "Words that set it apart" not in page and "excite it most" in page


def test_the_command_writes_the_page_and_refuses_mistakes(run, tmp_path, capsys):
    path = tmp_path / "page.html"
    options = ["--head", "8", "--cluster", "2", "--no-dream", "--pointing", "0", "--quiet", "--json"]
    assert main(["scan", "explain", str(run.folder), "-o", str(path), *options]) == 0
    assert json.loads(capsys.readouterr().out)["head"] == "k8" and "Cluster 2" in path.read_text()
    for wrong, said in (
        (["--cluster", "8"], "clusters 0 to 7"),
        (["--method", "magic"], "magic"),
        (["--layout", "umap"], "pca, t-sne"),
        (["--tags", str(tmp_path / "none.csv")], "tags"),
        (["-o", str(tmp_path / "page.pdf")], "must end in .html"),
        (["--clip-weights", "w.pt"], "--clip-terms"),
        (["--clip-weights", "w.pt", "--clip-terms", str(tmp_path / "none.txt")], "cannot be read"),
    ):
        assert main(["scan", "explain", str(run.folder), "--quiet", "--pointing", "0", *wrong]) == 2
        assert said in capsys.readouterr().err


def test_clip_may_see_the_region_alone(run, monkeypatch):
    seen = []

    def stand_in(pictures, names, **options):
        seen.append(options["maps"])
        return Terms(tuple(names), np.ones((len(pictures), len(names)), np.float32), "stand-in")

    monkeypatch.setattr(survey, "clip_terms", stand_in)
    assert survey.find_clip_terms(run, ["a", "b"], "w.pt").scores.shape == (240, 2) and seen[0] is None
    survey.find_clip_terms(run, ["a", "b"], "w.pt", region_of=run.head(8))
    assert len(seen[1]) == 240 and seen[1][0].shape == (32, 32)


def test_captions_of_outliers_follow_their_order(run):
    opened = Survey(run, run.head(8), None)
    alt = views.gallery(opened, look.largest(opened), "outliers").alt
    found = [(int(share), float(alike)) for share, alike in re.findall(r"(\d+)%, (-?[01]\.\d\d)", alt)]
    strange = [share / 100 - alike for share, alike in found]
    assert len(found) == 6 and all(a >= b - 0.02 for a, b in itertools.pairwise(strange))


def test_lessons_tell_what_they_show(run):
    opened, surveys = look.open_surveys(str(run.folder))
    assert list(surveys) == ["k3", "k8"] and "240 training and 48 held-out" in look.describe_run(opened)
    found = surveys["k8"]
    cluster = look.largest(found)
    made = [look.show_pictures(found, cluster, kind) for kind in ("prototypes", "borderline", "outliers")]
    made += [look.compare_with_labels(found), look.show_silhouettes(found), look.show_words(found, cluster)]
    made += [look.show_maps(found, cluster, 1), look.show_flow(surveys), look.show_consensus(found)]
    made += [look.ask_about(found, run.pictures("validation")[0]), look.move_picture(found, cluster)]
    assert all(each.figure.get_label() and each.sentence for each in made)
    assert f"{found.measure('validation').agreement.accuracy:.1%} of 48" in made[3].sentence
    table = look.measure_pointing(found, ["grad_cam", "random"], 12)
    assert list(table.index) == ["Grad-CAM", "Random (control)"]
