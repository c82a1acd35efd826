"""Weights files are read without running anything in them, and downloads go on where they stopped: xai.io.weights."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import safetensors.torch
import torch
from networks import ResidualNet, seeded
from torch import nn

from xai.errors import Cancelled, UserError
from xai.io import weights
from xai.io.weights import download, load_state, read_state_dict, weights_digest

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:.torch.*(jit|load)")
SUFFIXES = [".safetensors", ".pth", ".pt"]


@pytest.fixture(scope="module")
def state():
    return seeded(ResidualNet).state_dict()


def write(path, content, **options):
    """Write named tensors, or anything else, as the suffix says."""
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(content, path)
    else:
        torch.save(content, path, **options)
    return path


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in other)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_give_back_their_tensors(tmp_path, state, suffix):
    assert same(read_state_dict(write(tmp_path / f"a{suffix}", state)), state)
    assert same(read_state_dict(str(tmp_path / f"a{suffix}")), state)


def test_old_archives_wrapped_and_prefixed_states(tmp_path, state):
    path = tmp_path / "a.pth"
    assert same(read_state_dict(write(path, state, _use_new_zipfile_serialization=False)), state)
    for key in ("state_dict", "model_state_dict", "model"):
        assert same(read_state_dict(write(path, {key: state, "epoch": 3, "best": 0.7})), state)
    parallel = nn.DataParallel(seeded(ResidualNet)).state_dict()
    assert next(iter(parallel)).startswith("module.")
    assert same(read_state_dict(write(path, parallel)), state)
    assert same(read_state_dict(write(path, {"state_dict": parallel})), state)
    assert "a.module.b" in read_state_dict(write(path, {"a.module.b": torch.ones(2)}))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_become_float32_and_counts_stay_whole(tmp_path, suffix, kind):
    content = {"weight": torch.tensor([0.5, -2.0], dtype=kind), "count": torch.tensor(7)}
    found = read_state_dict(write(tmp_path / f"a{suffix}", content))
    assert found["weight"].dtype == torch.float32 and found["weight"].tolist() == [0.5, -2.0]
    assert found["count"].dtype == torch.int64 and found["count"].item() == 7


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_pickle_is_refused_and_never_run(tmp_path):
    trap = tmp_path / "ran"
    pickle.loads(pickle.dumps(Malicious(trap)))
    assert trap.is_dir()  # the trap works ...
    trap.rmdir()
    path = tmp_path / "a.pth"
    contents = {
        "zip": lambda: torch.save({"w": torch.ones(2), "x": Malicious(trap)}, path),
        "legacy": lambda: torch.save({"x": Malicious(trap)}, path, _use_new_zipfile_serialization=False),
        "nested": lambda: torch.save({"state_dict": {"x": Malicious(trap)}}, path),
        **{f"pickle {n}": lambda n=n: path.write_bytes(pickle.dumps(Malicious(trap), protocol=n)) for n in range(6)},
    }
    for name, make in contents.items():
        make()
        with pytest.raises(UserError, match=r"a\.pth") as caught:
            read_state_dict(path)
        assert not trap.exists(), name  # ... and did not spring
        if not name.startswith("pickle"):
            assert "never run here" in str(caught.value)
    renamed = path.rename(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="damaged"):
        read_state_dict(renamed)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: seeded(ResidualNet), "holds Python objects.*state_dict"),
        (lambda: {"w": np.ones(3)}, "holds Python objects"),
        (lambda: [torch.ones(2)], "does not hold a state dict"),
        (lambda: {}, "does not hold a state dict"),
        (lambda: {"epoch": 1, "w": torch.ones(2)}, "does not hold a state dict"),
        (lambda: {"state_dict": {"w": 1.0}}, "does not hold a state dict"),
        (lambda: torch.ones(2), "does not hold a state dict"),
    ],
)
def test_other_content_is_one_sentence(tmp_path, content, said):
    with pytest.raises(UserError, match=said) as caught:
        read_state_dict(write(tmp_path / "a.pth", content()))
    assert len(str(caught.value).splitlines()) == 1


def test_programs_are_refused(tmp_path):
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / "a.pt")
    with pytest.raises(UserError, match="never run here"):
        read_state_dict(tmp_path / "a.pt")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty_text_and_missing_files_are_one_sentence(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(UserError, match="does not exist"):
        read_state_dict(path)
    for content in (b"", b"<html>not found</html>", bytes(100), bytes(range(256))):
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"a\{suffix}' is damaged, or no \{suffix} file") as caught:
            read_state_dict(path)
        assert len(str(caught.value).splitlines()) == 1
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(UserError, match="does not exist"):
        read_state_dict(tmp_path / "folder.pth")
    with pytest.raises(UserError, match=r"must end in one of: \.safetensors, \.pth, \.pt"):
        read_state_dict(tmp_path / "a.h5")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_damaged_files_give_tensors_or_one_sentence(tmp_path, kind):
    content = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)).state_dict()
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    whole = write(path, content, **({"_use_new_zipfile_serialization": False} if kind == "legacy" else {})).read_bytes()
    chosen = random.Random(kind)
    refused = 0
    for turn in range(150):
        data = bytearray(whole)
        place = chosen.randrange(len(data))
        if turn % 3 == 0:
            del data[place:]
        elif turn % 3 == 1:
            for _ in range(chosen.choice([1, 4, 30])):
                data[chosen.randrange(min(len(data), 600))] ^= 1 << chosen.randrange(8)
        else:
            data[place:place] = chosen.randbytes(16)
        path.write_bytes(data)
        try:
            assert all(isinstance(value, torch.Tensor) for value in read_state_dict(path).values())
        except UserError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1 and path.name in str(error)
    assert refused > 75


# --- fitting into a network ------------------------------------------------------------------------------------------


def test_a_state_that_fits_is_put_in(state):
    network = seeded(ResidualNet, seed=1)
    assert not same(network.state_dict(), state)
    load_state(network, state, "a.pth")
    assert same(network.state_dict(), state)
    counters = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert len(counters) < len(state)
    load_state(network, counters, "a.pth")  # files from before these counters existed


def test_a_state_that_does_not_fit_says_which_keys(state):
    network = seeded(ResidualNet, seed=1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    wrong = dict(state)
    wrong["extra"] = torch.ones(1)
    del wrong["stem.0.weight"], wrong["down.bias"]
    wrong["head.fc.weight"] = torch.ones(3, 8)
    with pytest.raises(UserError) as caught:
        load_state(network, wrong, "a.pth")
    for part in (
        "'a.pth' do not fit ResidualNet",
        "2 missing (stem.0.weight, down.bias)",
        "1 unexpected (extra)",
        "1 wrong shape (head.fc.weight (3, 8) instead of (5, 8))",
    ):
        assert part in str(caught.value)
    with pytest.raises(UserError, match=r"\d\d missing \(stem\.0\.weight, stem\.0\.bias, stem\.1\.weight \.\.\.\)"):
        load_state(network, {}, "a.pth")
    assert same(network.state_dict(), before)  # nothing was half loaded


def test_the_digest_is_of_names_types_shapes_and_bytes():
    def digest(change=None):
        network = seeded(ResidualNet)
        if change:
            with torch.no_grad():
                change(network)
        return weights_digest(network)

    assert digest() == digest(lambda n: n.to(memory_format=torch.channels_last))
    assert digest() == digest(lambda n: n.requires_grad_(False).train())
    assert len(digest()) == 64
    changes = [
        lambda n: n.down.weight[7, 5, 2, 1].add_(1e-6),
        lambda n: n.stem[1].running_var[3].mul_(1.001),
        lambda n: n.stem[1].num_batches_tracked.add_(1),
        lambda n: n.double(),
        lambda n: n.head.register_buffer("more", torch.zeros(0)),
        lambda n: n.down.register_parameter("bias", None),
    ]
    assert len({digest(), *map(digest, changes)}) == len(changes) + 1


# --- downloads -------------------------------------------------------------------------------------------------------

CONTENT = random.Random(0).randbytes(1_500_000)
DIGITS = hashlib.sha256(CONTENT).hexdigest()[:8]


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT, badly where the server's `way` says so, and notes what was asked."""

    def do_GET(self):
        way, asked = self.server.way, self.headers.get("Range")
        self.server.asked.append(asked)
        if way == "404":
            return self.send_error(404)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and way != "no range" else 0
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if way != "no length":
            self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : 900_000 if way == "breaks" else None])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.way, server.asked = "good", []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def url(server, digits=DIGITS):
    return f"http://127.0.0.1:{server.server_port}/models/net-{digits}.pth"


def test_a_download_tells_its_progress_and_happens_once(server, hub):
    told = []
    path = download(url(server), lambda fraction, text: told.append((fraction, text)))
    assert path == hub / f"net-{DIGITS}.pth" and path.read_bytes() == CONTENT
    fractions = [fraction for fraction, _ in told]
    assert len(told) >= 5 and fractions == sorted(fractions) and fractions[-1] == 1.0 and fractions[0] < 0.5
    assert told[-1][1] == "2 of 2 MB, 0 s left"
    assert download(url(server)) == path and server.asked == [None]
    assert [each.name for each in hub.iterdir()] == [path.name]


def test_a_broken_download_goes_on_where_it_stopped(server, hub):
    server.way = "breaks"
    with pytest.raises(UserError, match=r"Could not download net-.*the connection ended after 0\.9 of 1\.5 MB"):
        download(url(server))
    assert not (hub / f"net-{DIGITS}.pth").exists()
    server.way, told = "good", []
    path = download(url(server), lambda fraction, _: told.append(fraction))
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=900000-"]
    assert min(told) > 0.6 and told[-1] == 1.0


def test_a_cancelled_download_goes_on_where_it_stopped(server, hub):
    def stop(fraction, _):
        if fraction > 0.4:
            raise Cancelled

    with pytest.raises(Cancelled):
        download(url(server), stop)
    assert download(url(server)).read_bytes() == CONTENT
    assert server.asked[0] is None and int(server.asked[1].removeprefix("bytes=").removesuffix("-")) > 500_000


def test_a_server_that_knows_no_ranges_starts_again(server, hub):
    server.way = "breaks"
    with pytest.raises(UserError):
        download(url(server))
    server.way = "no range"
    assert download(url(server)).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=900000-"]


def test_a_file_that_was_whole_already_is_checked_and_taken(server, hub):
    hub.mkdir(parents=True)
    (hub / f"net-{DIGITS}.pth.part").write_bytes(CONTENT)
    assert download(url(server)).read_bytes() == CONTENT
    assert server.asked == ["bytes=1500000-"]


def test_a_server_that_tells_no_length_is_trusted_to_the_digest(server, hub):
    server.way, told = "no length", []
    assert download(url(server), lambda *each: told.append(each)).read_bytes() == CONTENT
    assert told and all(fraction == 0 and text in ("0 MB", "1 MB", "2 MB") for fraction, text in told)


def test_a_wrong_file_is_thrown_away(server, hub):
    with pytest.raises(UserError, match=r"net-00000000\.pth is damaged \(its sha256"):
        download(url(server, "0" * 8))
    assert list(hub.iterdir()) == []


def test_a_server_that_has_no_such_file(server, hub):
    server.way = "404"
    with pytest.raises(UserError, match=rf"Could not download net-{DIGITS}\.pth: HTTP Error 404") as caught:
        download(url(server))
    assert len(str(caught.value).splitlines()) == 1
    server.way = "good"
    assert download(url(server)).read_bytes() == CONTENT


def test_a_server_that_cannot_be_reached_or_talks_nonsense(hub):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]

        def answer():
            connection, _ = listening.accept()
            connection.recv(1000)
            connection.sendall(b"what?\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(UserError, match="Could not download"):
            download(f"http://127.0.0.1:{port}/a-{DIGITS}.pth")
        thread.join()
    with pytest.raises(UserError, match=r"Could not download a-.*refused"):
        download(f"http://127.0.0.1:{port}/a-{DIGITS}.pth")


def test_a_cache_that_cannot_be_written_is_one_sentence(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "file"))
    with pytest.raises(UserError, match="Could not download"):
        download(url(server))


def test_the_cache_is_torchs_own(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert weights.cached_file("https://example.org/models/net-01234567.pth") == (
        tmp_path / "hub" / "checkpoints" / "net-01234567.pth"
    )
