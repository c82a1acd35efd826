"""A RunSpec survives JSON, links, commands and cells, and says what is wrong with one that does not."""

import json
import random
import shlex
import string

import numpy as np
import pytest

import xai
from xai.errors import UserError
from xai.spec import RunSpec

SPEC = RunSpec(
    model="resnet18",
    method="grad_cam",
    weights="untrained",
    image="my cat's picture.png",
    target=(281, 282),
    layer=("layer3", "layer4"),
    params={"relu": False, "eigen_smooth": True},
    seed=7,
    weights_digest="ab" * 32,
    image_digest="cd" * 32,
    model_options={"input_size": (64, 96), "output": "sigmoid"},
    drawing={"alpha": 0.4},
)


def test_json_round_trip_keeps_everything(tmp_path):
    path = SPEC.save(tmp_path / "figure.json")
    again = RunSpec.load(path)
    assert again.to_json() == SPEC.to_json()
    assert (again.target, again.layer) == (SPEC.target, SPEC.layer)
    assert json.loads(path.read_text())["runspec"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no valid JSON"),
        ("[" * 100_000, "no valid JSON"),
        ("[]", "no RunSpec"),
        ('{"runspec": 99, "model": "a", "method": "b"}', "format 1 (found 99)"),
        ('{"runspec": 1, "method": "b"}', "lacks 'model'"),
        ('{"runspec": 1, "model": "a", "method": 3}', "lacks 'method'"),
        ('{"runspec": 1, "model": "a", "method": "b", "target": 3}', "'target' must be a list"),
        ('{"runspec": 1, "model": "a", "method": "b", "target": ["x"]}', "class indices"),
        ('{"runspec": 1, "model": "a", "method": "b", "layer": 4}', "'layer' must be a name"),
        ('{"runspec": 1, "model": "a", "method": "b", "params": []}', "'params' must be a dict"),
        ('{"runspec": 1, "model": "a", "method": "b", "seed": "1"}', "'seed' must be a int"),
    ],
)
def test_malformed_specs_are_one_sentence(text, said):
    with pytest.raises(UserError) as caught:
        RunSpec.from_json(text)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_files_that_are_no_spec_are_one_sentence(tmp_path):
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large.json").write_bytes(b" " * 2_000_000)
    for name, said in (("none.json", "does not exist"), ("binary.json", "no text file"), ("large.json", "larger than")):
        with pytest.raises(UserError, match=said):
            RunSpec.load(tmp_path / name)


def test_query_round_trip():
    again = RunSpec.from_query(SPEC.to_query())
    for name in ("model", "method", "weights", "image", "resize", "target", "layer", "seed"):
        assert getattr(again, name) == getattr(SPEC, name), name
    assert again.params == {"relu": "false", "eigen_smooth": "true"}
    assert "relu" not in SPEC.to_query({"relu": False})
    assert SPEC.to_query({"relu": True})["relu"] == "false"


def test_any_query_gives_a_spec():
    chosen = random.Random(0)
    keys = ["model", "weights", "image", "method", "resize", "layer", "target", "seed", "relu", "x"]
    for _ in range(300):
        texts = ["".join(chosen.choices(string.printable + "é中²", k=chosen.randrange(12))) for _ in keys]
        spec = RunSpec.from_query(dict(zip(keys, texts, strict=True)))
        assert all(isinstance(index, int) for index in spec.target)
        assert RunSpec.from_json(spec.to_json()) == spec


def test_command_quotes_what_a_shell_would_split():
    words = shlex.split(SPEC.to_command())
    assert words[:4] == ["xai", "explain", "--img", "my cat's picture.png"]
    assert words[words.index("--weights") + 1] == "none"
    assert [words[i + 1] for i, word in enumerate(words) if word == "--layer"] == ["layer3", "layer4"]
    assert [words[i + 1] for i, word in enumerate(words) if word == "--target"] == ["281", "282"]
    assert {"--no-relu", "--eigen-smooth"} <= set(words)
    assert words[words.index("--input-size") + 1] == "64x96"
    assert words[words.index("--output-kind") + 1] == "sigmoid"


def test_cells_run_and_give_the_same_result(monkeypatch):
    model = xai.load_model("resnet18", weights=None, input_size=64)
    made = xai.explain(model, "cat", "hires_cam", target=["tabby", 3], layer="layer3", relu=True)
    maps = xai.feature_maps(model, "cat", "layer2", sort="contribution", target=5)
    kernels = xai.filters(model, "layer1.0.conv1", show="channel", input_channel=2)
    for result, field in ((made, "map"), (maps, "maps"), (kernels, "kernels")):
        *lines, last = result.spec.to_cell().splitlines()
        names: dict = {}
        exec("\n".join([*lines, "again = " + last.removesuffix(".figure()")]), names)
        assert np.array_equal(getattr(names["again"], field), getattr(result, field))
        assert names["again"].spec.to_json() == result.spec.to_json()
