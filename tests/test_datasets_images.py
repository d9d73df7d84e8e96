"""Official files: readers on small files in the official formats, and every way in which data can be missing or wrong."""

import gzip
import hashlib
import http.server
import io
import json
import os
import pickle
import socket
import struct
import tarfile
import threading
import zipfile

import numpy as np
import pytest
import torch

from ebmlearn import datasets
from ebmlearn.datasets import files, images
from ebmlearn.datasets.files import DataError, Official, verified

RNG = np.random.RandomState(0)


def idx(array):
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes())


def put(root, name, content):
    """A file under a data root, vouched for by the root's checksums.json."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    table = root / "checksums.json"
    sums = json.loads(table.read_text()) if table.exists() else {}
    sums[name] = hashlib.sha256(content).hexdigest()
    table.write_text(json.dumps(sums))
    return path


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("EBMLEARN_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx(root, capsys, name):
    x, y = RNG.randint(0, 256, (7, 28, 28)), np.arange(7)
    put(root, f"{name}/t10k-images-idx3-ubyte.gz", idx(x))
    put(root, f"{name}/t10k-labels-idx1-ubyte.gz", idx(y))
    found, classes = images.load(name, "test")
    assert found.dtype == torch.uint8 and torch.equal(found[:, 0], torch.from_numpy(x.astype(np.uint8)))
    assert classes.tolist() == list(range(7))
    assert "local copy" in capsys.readouterr().err  # never silently
    d = datasets.load(name, split="test", limit=3)
    assert d.x.shape == (3, 1, 28, 28) and d.levels == 256 and float(d.x.max()) <= 1
    torch.testing.assert_close(d.x * 255, found[:3].float())


def test_idx_that_is_truncated_or_of_another_kind(root):
    whole = idx(np.zeros((3, 4, 4)))
    for content, words in (
        (gzip.compress(gzip.decompress(whole)[:-5]), "promises"),
        (whole[:-9], "truncated"),
        (gzip.compress(b"\0\0\x0d\x01" + bytes(8)), "not an idx file"),
    ):
        path = put(root, "mnist/t10k-images-idx3-ubyte.gz", content)
        with pytest.raises(DataError, match=words):
            images.read_idx(path)


def tarball(batches):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in batches.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def batch(n, keys=bytes):
    data = RNG.randint(0, 256, (n, 3072)).astype(np.uint8)
    labels = [int(v) for v in RNG.randint(0, 10, n)]
    key = (lambda s: s.encode()) if keys is bytes else (lambda s: s)
    return data, labels, pickle.dumps({key("data"): data, key("labels"): labels, key("batch_label"): b"x"}, protocol=2)


def test_cifar(root):
    parts = {f"data_batch_{i}": batch(4, bytes if i % 2 else str) for i in range(1, 6)}
    test = batch(3)
    put(root, "cifar10/cifar-10-python.tar.gz", tarball({**{k: v[2] for k, v in parts.items()}, "test_batch": test[2]}))
    x, y = images.load("cifar10", "train")
    assert x.shape == (20, 3, 32, 32) and y.tolist() == sum((v[1] for v in parts.values()), [])
    assert np.array_equal(x[4].numpy().reshape(-1), parts["data_batch_2"][0][0])
    assert images.load("cifar10", "test", limit=2)[1].tolist() == test[1][:2]


def test_both_spellings_of_numpys_globals_are_read():
    data, labels, blob = batch(2)
    new, old = b"numpy._core.multiarray", b"numpy.core.multiarray"
    assert (new in blob) != (old in blob)
    mine, other = (new, old) if new in blob else (old, new)
    for spelling in (blob, blob.replace(b"c" + mine, b"c" + other)):
        assert np.array_equal(images.read_cifar_batch(spelling)[0].reshape(2, -1), data)


class Evil:
    def __reduce__(self):
        return os.mkdir, (os.environ["EVIL"],)


def test_a_pickle_that_runs_code_is_refused_even_when_its_hash_is_vouched_for(root, tmp_path, monkeypatch):
    monkeypatch.setenv("EVIL", str(tmp_path / "was-here"))
    blob = pickle.dumps({b"data": Evil()}, protocol=2)
    put(root, "cifar10/cifar-10-python.tar.gz", tarball({"test_batch": blob}))
    with pytest.raises(DataError, match="not on the list of allowed names"):
        images.load("cifar10", "test")
    assert not (tmp_path / "was-here").exists()
    for module, name in (("builtins", "eval"), ("numpy", "load"), ("numpy.core.multiarray", "fromfile"), ("os", "system")):
        with pytest.raises(DataError):
            images.ArrayUnpickler(io.BytesIO()).find_class(module, name)


def test_svhn(root):
    from scipy.io import savemat

    x, y = RNG.randint(0, 256, (32, 32, 3, 5)).astype(np.uint8), np.array([[10], [1], [2], [9], [10]], dtype=np.uint8)
    out = io.BytesIO()
    savemat(out, {"X": x, "y": y})
    put(root, "svhn/train_32x32.mat", out.getvalue())
    found, classes = images.load("svhn", "train")
    assert found.shape == (5, 3, 32, 32) and np.array_equal(found[3].numpy(), x[:, :, :, 3].transpose(2, 0, 1))
    assert classes.tolist() == [0, 1, 2, 9, 0]


def test_celeba(root):
    from PIL import Image

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, grey in ((1, 50), (162_770, 100), (162_771, 150), (182_638, 200)):
            picture = io.BytesIO()
            Image.new("RGB", (178, 218), (grey, grey, grey)).save(picture, "JPEG")
            archive.writestr(f"img_align_celeba/{number:06d}.jpg", picture.getvalue())
    put(root, "celeba/img_align_celeba.zip", out.getvalue())
    x, y = images.load("celeba", "train")
    assert y is None and x.shape == (2, 3, 64, 64) and [int(v.float().mean().round()) for v in x] == [50, 100]
    assert len(images.load("celeba", "test")[0]) == 1
    assert datasets.load("celeba", split="test").y is None


def test_celeba_is_never_downloaded(root):
    with pytest.raises(DataError, match=r"by hand and put it at .*celeba/img_align_celeba.zip"):
        images.load("celeba", "train")


def test_wrong_hash_is_refused_before_anything_is_read(root, monkeypatch):
    (root / "cifar10").mkdir()
    (root / "cifar10/cifar-10-python.tar.gz").write_bytes(b"not the file")
    monkeypatch.setitem(images.READERS, "cifar10", lambda *a: pytest.fail("the file was read"))
    with pytest.raises(DataError, match="Nothing was read") as error:
        images.load("cifar10", "test")
    assert "c58f30108f718f92721af3b95e74349a" in str(error.value)
    put(root, "cifar10/cifar-10-python.tar.gz", b"vouched for")
    (root / "cifar10/cifar-10-python.tar.gz").write_bytes(b"and then changed")
    with pytest.raises(DataError, match="Nothing was read"):
        images.load("cifar10", "test")


def test_checksums_are_trusted_under_the_variable_only(tmp_path, monkeypatch):
    put(tmp_path, "mnist/a.gz", b"bytes")
    file = Official("mnist", "a.gz", "0" * 32, "http://127.0.0.1:9/a.gz")
    monkeypatch.delenv("EBMLEARN_DATA", raising=False)
    monkeypatch.setattr(files, "root", lambda: tmp_path)
    with pytest.raises(DataError, match="not the official file"):
        verified(file)
    monkeypatch.setenv("EBMLEARN_DATA", str(tmp_path))
    assert verified(file).name == "a.gz"
    (tmp_path / "checksums.json").write_text("{broken")
    with pytest.raises(DataError, match="not valid JSON"):
        verified(file)


def test_the_official_hash_needs_no_checksums(root, capsys):
    (root / "mnist").mkdir()
    (root / "mnist/a.gz").write_bytes(b"bytes")
    assert verified(Official("mnist", "a.gz", hashlib.md5(b"bytes").hexdigest())).exists()
    assert capsys.readouterr().err == ""


class Server(http.server.BaseHTTPRequestHandler):
    body, promised = b"", 0

    def do_GET(self):
        self.send_response(200 if self.promised else 404)
        self.send_header("Content-Length", str(self.promised))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    httpd = http.server.HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/a.gz"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def serve(monkeypatch, body, promised=None):
    monkeypatch.setattr(Server, "body", body)
    monkeypatch.setattr(Server, "promised", len(body) if promised is None else promised)


def test_download(root, server, monkeypatch):
    body = bytes(range(256)) * 40
    serve(monkeypatch, body)
    path = verified(Official("mnist", "a.gz", hashlib.md5(body).hexdigest(), server))
    assert path == root / "mnist/a.gz" and path.read_bytes() == body


def test_interrupted_download_leaves_nothing(root, server, monkeypatch):
    body = bytes(range(256)) * 40
    serve(monkeypatch, body[:5000], promised=len(body))
    with pytest.raises(DataError, match=r"interrupted; nothing was kept.*by hand and put it at .*mnist/a\.gz"):
        verified(Official("mnist", "a.gz", hashlib.md5(body).hexdigest(), server))
    assert [p for p in (root / "mnist").rglob("*") if p.is_file()] == []
    serve(monkeypatch, body)  # and the next try is a clean one
    assert verified(Official("mnist", "a.gz", hashlib.md5(body).hexdigest(), server)).read_bytes() == body


def test_download_of_something_else_leaves_nothing(root, server, monkeypatch):
    serve(monkeypatch, b"a login page")
    with pytest.raises(DataError, match=r"wrong MD5, expected 0{32}.*thrown away.*by hand"):
        verified(Official("mnist", "a.gz", "0" * 32, server))
    assert [p for p in (root / "mnist").rglob("*") if p.is_file()] == []


def test_no_network_names_the_manual_step(root):
    with socket.socket() as s:  # a port where nobody listens
        s.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{s.getsockname()[1]}/a.gz"
    with pytest.raises(DataError, match=rf"no network.*fetch {url} by hand and put it at {root}/mnist/a.gz"):
        verified(Official("mnist", "a.gz", "0" * 32, url))


def test_a_missing_page_is_a_data_error(root, server, monkeypatch):
    serve(monkeypatch, b"", promised=0)
    with pytest.raises(DataError, match="by hand"):
        verified(Official("mnist", "a.gz", "0" * 32, server))


def test_unknown_split():
    with pytest.raises(ValueError, match="'train' or 'test'"):
        images.load("mnist", "validation")
    with pytest.raises(DataError, match="known: mnist, fashion_mnist"):
        images.load("imagenet", "train")


@pytest.mark.parametrize("name, shape", [("mnist", (1, 28, 28)), ("fashion_mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))])
def test_official_files_of_the_user(name, shape):
    if not os.environ.get("EBMLEARN_DATA"):
        pytest.skip("set EBMLEARN_DATA to a folder with the official files")
    if not datasets.registry.available(name):
        pytest.skip(f"EBMLEARN_DATA holds no {name}")
    x, y = images.load(name, "test")
    assert x.shape == (10_000, *shape)
    assert torch.bincount(y).tolist() == [1000] * 10 or name == "mnist"
    assert 50 < float(x.float().mean()) < 130 or name == "mnist"
