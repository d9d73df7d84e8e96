"""Image metrics: closed forms, an independent implementation, streamed = at once, and a report that always shows its floor."""

import math

import pytest
import torch

from ebmlearn.metrics import images as m


def gaussian_features(n, mean, factor, seed):
    z = torch.randn(n, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return z @ factor.T + mean


def test_frechet_of_gaussians_against_closed_forms():
    eye = torch.eye(3, dtype=torch.float64)
    zero, a = torch.zeros(3, dtype=torch.float64), torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    assert abs(m.gaussian_frechet(zero, eye, a, eye) - 5.25) < 1e-12
    s, t = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 4.0, 1.0]).double()
    assert abs(m.gaussian_frechet(a, s.diag(), a, t.diag()) - float((s.sqrt() - t.sqrt()).square().sum())) < 1e-12
    # in two dimensions tr (C C')^(1/2) = sqrt(tr(C C') + 2 sqrt(det C det C')), whether or not they commute
    c, d = torch.tensor([[2.0, 0.7], [0.7, 1.0]]).double(), torch.tensor([[1.0, -0.5], [-0.5, 3.0]]).double()
    cross = torch.sqrt((c @ d).trace() + 2 * torch.sqrt(c.det() * d.det()))
    exact = float(c.trace() + d.trace() - 2 * cross)
    assert abs(m.gaussian_frechet(zero[:2], c, zero[:2], d) - exact) < 1e-12
    assert abs(m.gaussian_frechet(zero[:2], c, zero[:2], c)) < 1e-12
    singular = torch.tensor([[1.0, 1.0], [1.0, 1.0]]).double()  # features are often degenerate
    assert abs(m.gaussian_frechet(zero[:2], singular, zero[:2], 4 * singular) - 2.0) < 1e-7


def test_frechet_of_samples_is_that_of_their_gaussians():
    factor = torch.tensor([[1.0, 0.0], [0.5, 0.8]]).double()
    x = gaussian_features(20_000, torch.tensor([1.0, 0.0]).double(), factor, 0)
    y = gaussian_features(20_000, torch.zeros(2).double(), torch.eye(2).double(), 1)
    exact = m.gaussian_frechet(torch.tensor([1.0, 0.0]), factor @ factor.T, torch.zeros(2), torch.eye(2))
    # dominated by |m - m'|² = 1 with standard error 2 sqrt(2/n) = 0.02
    assert abs(m.frechet_distance(x, y) - exact) < 0.1


@pytest.mark.filterwarnings("ignore:Metric .Kernel Inception Distance:UserWarning")
def test_against_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    class Flat(torch.nn.Module):
        num_features = 12

        def forward(self, x):
            return x.flatten(1).double()

    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(60, 3, 2, 2, generator=g), torch.rand(60, 3, 2, 2, generator=g) ** 2  # 12 features
    fid = FrechetInceptionDistance(feature=Flat(), input_img_size=(3, 2, 2))
    kid = KernelInceptionDistance(feature=Flat(), subsets=1, subset_size=60)
    for metric in (fid, kid):
        metric.update(x, real=True)
        metric.update(y, real=False)
    fx, fy = x.flatten(1), y.flatten(1)
    assert abs(m.frechet_distance(fx, fy) / float(fid.compute()) - 1) < 1e-4
    assert abs(m.kernel_distance(fx, fy) / float(kid.compute()[0]) - 1) < 1e-4


def test_streamed_moments_equal_all_at_once():
    f = 1e3 + torch.randn(1000, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    streamed = m.Moments()
    for part in f.split([1, 2, 300, 697]):
        streamed.update(part)
    assert streamed.n == 1000
    torch.testing.assert_close(streamed.mean, f.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(streamed.cov, f.T.cov(), rtol=1e-9, atol=1e-9)
    assert m.frechet_distance(streamed, f) < 1e-9
    with pytest.raises(ValueError, match="5 features as before; got 4"):
        streamed.update(f[:, :4])


def test_kernel_distance_is_unbiased_and_equals_its_double_sum():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(7, 3, generator=g).double(), torch.randn(5, 3, generator=g).double() + 0.3
    k = lambda a, b: (float(a @ b) / 3 + 1) ** 3
    xx = sum(k(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / 42
    yy = sum(k(y[i], y[j]) for i in range(5) for j in range(5) if i != j) / 20
    xy = sum(k(a, b) for a in x for b in y) / 35
    assert abs(m.kernel_distance(x, y, block=2) - (xx + yy - 2 * xy)) < 1e-12
    same = [m.kernel_distance(*torch.randn(2, 40, 3, generator=g)) for _ in range(300)]
    mean, error = sum(same) / 300, float(torch.tensor(same).std()) / 300**0.5
    assert abs(mean) < 5 * error
    assert min(same) < 0  # an unbiased estimate of 0 has to be


def test_precision_and_recall():
    g = torch.Generator().manual_seed(0)
    data = torch.cat([torch.randn(150, 2, generator=g), torch.randn(150, 2, generator=g) + 20])
    one_mode = torch.randn(300, 2, generator=g)
    near = m.precision_recall(one_mode, data)
    assert near.precision > 0.85 and 0.35 < near.recall < 0.55  # in the data, but half of the data is missed
    swapped = m.precision_recall(data, one_mode)
    assert swapped == (near.recall, near.precision)
    assert m.precision_recall(data, data) == (1.0, 1.0)
    assert m.precision_recall(data + 1000, data) == (0.0, 0.0)
    assert m.precision_recall(one_mode, data, block=7) == near
    # three points on a line: the radius of each is the distance to its nearest neighbour, edges count as inside
    line = torch.tensor([[0.0], [1.0], [3.0]])
    assert m.precision_recall(torch.tensor([[2.0], [-1.0], [5.5]]), line, k=1).precision == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="1 <= k < 3"):
        m.precision_recall(line, line, k=3)


def test_class_statistics():
    even = m.class_statistics(50.0 * torch.eye(10))
    assert even.entropy == pytest.approx(math.log(10)) and even.confidence == pytest.approx(1.0)
    unsure = m.class_statistics(torch.zeros(4, 10))
    assert unsure.entropy == pytest.approx(math.log(10)) and unsure.confidence == pytest.approx(0.1)
    assert m.class_statistics(50.0 * torch.eye(10)[:1].expand(5, 10)).entropy == pytest.approx(0.0, abs=1e-9)


def test_report_has_the_floor_and_one_size_for_all():
    g = torch.Generator().manual_seed(0)
    train, test = torch.randn(400, 1, 2, 2, generator=g), torch.randn(120, 1, 2, 2, generator=g)
    far = torch.randn(200, 1, 2, 2, generator=g) + 3
    calls = []

    def features(x):  # any callable will do
        calls.append(len(x))
        return x.flatten(1)

    r = m.report({"far": far}, train=train, test=test, features=features, n=100)
    assert [row.name for row in r.rows] == ["far", m.FLOOR] and {row.n for row in r.rows} == {100}
    assert r["far"].frechet == pytest.approx(36, abs=3) and r[m.FLOOR].frechet < 0.5
    assert r[m.FLOOR].frechet == pytest.approx(m.frechet_distance(test[:100].flatten(1), train.flatten(1)))
    assert "held-out data (floor)" in str(r) and "| far | 100 |" in str(r) and "| - | - |" in str(r)
    with_classes = m.report({"far": far}, train=train, test=test, features=features, logits=features)
    assert with_classes["far"].n == 120 and 0 < with_classes["far"].confidence <= 1
    with pytest.raises(ValueError, match="far"):
        m.report({"far": far[:10]}, train=train, test=test, features=features, n=100)
    with pytest.raises(KeyError, match="near"):
        r["near"]


def test_features_come_in_batches_from_tensors_or_iterables():
    x = torch.rand(23, 1, 4, 4)
    flat = lambda b: b.flatten(1)
    assert torch.equal(m.extract(x, flat, batch_size=5), x.flatten(1))
    assert torch.equal(m.extract(iter(x.split(4)), flat), x.flatten(1))
    with pytest.raises(ValueError, match="at least one batch"):
        m.extract(iter(()), flat)


def test_bad_features_are_errors():
    good = torch.rand(5, 3)
    for bad, words in (
        (torch.rand(5, 1, 8, 8), "extract"),
        (torch.full((5, 3), math.nan), "finite"),
        (torch.rand(0, 3), "got \\(0, 3\\)"),
    ):
        with pytest.raises(ValueError, match=words):
            m.frechet_distance(bad, good)
        with pytest.raises(ValueError, match=words):
            m.kernel_distance(bad, good)
    with pytest.raises(ValueError, match="one length"):
        m.frechet_distance(torch.rand(5, 4), good)
    with pytest.raises(ValueError, match="at least 2 points"):
        m.frechet_distance(good[:1], good)
