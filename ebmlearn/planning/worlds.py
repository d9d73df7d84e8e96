"""Small worlds for planning: boxes and discs in a square, a point robot, exact collisions and shortest paths; pure torch, batched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

DISC_CORNERS = 64  # a disc is walked around on a polygon about it, at most 0.1 % longer than the circle


@dataclass(frozen=True, eq=False, kw_only=True)
class World:
    """A square with obstacles, or a batch of such worlds with equally many obstacles each.

    Obstacles are open sets: a point may touch a wall, and a shortest path may slide along it; the square is closed. Every
    method takes points `[*worlds, *n, 2]`, where `worlds` are the leading axes of `boxes` and `discs` (none for one world).

    Args:
        low, high: corners of the square, the same on both axes.
        boxes: `[*worlds, K, 4]`, rows (x0, y0, x1, y1) with x0 < x1, y0 < y1; K may be 0. Walls that meet should overlap: two
            open boxes with a common edge leave a path of width 0 between them.
        discs: `[*worlds, D, 3]`, rows (x, y, radius); D may be 0.

    Example:
        >>> world = disc_world(radius=0.2)
        >>> world.free(torch.tensor([[0.5, 0.5], [0.1, 0.1]])).tolist()
        [False, True]
        >>> world.segment_free(torch.tensor([0.1, 0.5]), torch.tensor([0.9, 0.5])).item()
        False
    """

    boxes: Tensor
    discs: Tensor
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.boxes.ndim < 2 or self.boxes.shape[-1] != 4 or self.discs.ndim < 2 or self.discs.shape[-1] != 3:
            raise ValueError(
                f"expected boxes [*worlds, K, 4] and discs [*worlds, D, 3]; got {tuple(self.boxes.shape)} and "
                f"{tuple(self.discs.shape)}. Without obstacles of a kind: torch.zeros(*worlds, 0, 4) or (*worlds, 0, 3)"
            )
        if self.boxes.shape[:-2] != self.discs.shape[:-2]:
            raise ValueError(
                f"expected boxes and discs for the same worlds; got {tuple(self.boxes.shape[:-2])} and {tuple(self.discs.shape[:-2])}"
            )
        if (
            not self.low < self.high
            or bool((self.boxes[..., :2] >= self.boxes[..., 2:]).any())
            or bool((self.discs[..., 2] <= 0).any())
        ):
            raise ValueError("expected low < high, boxes (x0, y0, x1, y1) with x0 < x1 and y0 < y1, and radii > 0")

    @property
    def worlds(self) -> tuple[int, ...]:
        """The batch shape; () for one world."""
        return tuple(self.boxes.shape[:-2])

    def __getitem__(self, index: int) -> World:
        """One world of a batch."""
        if not self.worlds:
            raise ValueError("this is one world, not a batch of worlds; leave the index out")
        return World(boxes=self.boxes[index], discs=self.discs[index], low=self.low, high=self.high)

    def to(self, *args: object) -> World:
        """The same world in another dtype or on another device."""
        return World(boxes=self.boxes.to(*args), discs=self.discs.to(*args), low=self.low, high=self.high)  # type: ignore[call-overload]

    def _obstacles(self, obstacles: Tensor, p: Tensor) -> Tensor:
        """`[*worlds, K, c]` -> `[*worlds, 1, ..., 1, K, c]`, to broadcast against points `[*worlds, *n, 1, 2]`."""
        lead = len(self.worlds)
        if p.shape[-1:] != (2,) or tuple(p.shape[:lead]) != self.worlds:
            raise ValueError(f"expected points of shape [{', '.join(map(str, (*self.worlds, '*n', 2)))}]; got {tuple(p.shape)}")
        shape = (*self.worlds, *(1,) * (p.ndim - 1 - lead), *obstacles.shape[-2:])
        return obstacles.to(p).reshape(shape)

    def clearance(self, p: Tensor) -> Tensor:
        """Signed distance to the nearest obstacle or side of the square, negative inside (there a lower bound): `[*worlds, *n, 2] -> [*worlds, *n]`."""
        side = torch.minimum(p - self.low, self.high - p).amin(-1)
        boxes, discs = self._obstacles(self.boxes, p), self._obstacles(self.discs, p)
        q = p.unsqueeze(-2)
        gap = torch.maximum(boxes[..., :2] - q, q - boxes[..., 2:])
        box = gap.clamp_min(0).norm(dim=-1) + gap.amax(-1).clamp_max(0)
        disc = (q - discs[..., :2]).norm(dim=-1) - discs[..., 2]
        return torch.cat([side.unsqueeze(-1), box, disc], -1).amin(-1)

    def free(self, p: Tensor) -> Tensor:
        """Whether points are inside the square and in no obstacle: `[*worlds, *n, 2] -> bool [*worlds, *n]`."""
        return self.segment_free(p, p)

    def segment_free(self, a: Tensor, b: Tensor) -> Tensor:
        """Whether the straight move from a to b is possible, exactly (slabs for boxes, the nearest point for discs).

        Args:
            a, b: `[*worlds, *n, 2]`, broadcast against each other.

        Returns:
            bool `[*worlds, *n]`.
        """
        a, b = torch.broadcast_tensors(a, b)
        inside = ((a >= self.low) & (a <= self.high) & (b >= self.low) & (b <= self.high)).all(-1)
        boxes, discs = self._obstacles(self.boxes, a), self._obstacles(self.discs, a)
        tol = 1e-9 if a.dtype == torch.float64 else 1e-5  # of the segment's length: rounding must not block a touching move
        p, d = a.unsqueeze(-2), (b - a).unsqueeze(-2)
        still = d == 0
        step = torch.where(still, torch.ones_like(d), d)
        t0, t1 = (boxes[..., :2] - p) / step, (boxes[..., 2:] - p) / step
        within = (p > boxes[..., :2]) & (p < boxes[..., 2:])
        enter = torch.where(still, torch.where(within, -math.inf, math.inf), torch.minimum(t0, t1)).amax(-1).clamp_min(0)
        leave = torch.where(still, torch.where(within, math.inf, -math.inf), torch.maximum(t0, t1)).amin(-1).clamp_max(1)
        hit_box = (leave - enter > tol).any(-1)
        to_centre = discs[..., :2] - p
        t = ((to_centre * d).sum(-1) / (d * d).sum(-1).clamp_min(1e-30)).clamp(0, 1)
        hit_disc = ((to_centre - t.unsqueeze(-1) * d).norm(dim=-1) < discs[..., 2] * (1 - tol)).any(-1)
        return inside & ~hit_box & ~hit_disc

    def check_free(self, p: Tensor, name: str = "point") -> None:
        """Raise a ValueError that counts the points in a wall or outside the square; `name` says what they are, e.g. "start"."""
        if not bool(torch.isfinite(p).all()):
            raise ValueError(f"expected finite coordinates of the {name}; got NaN or infinity")
        bad = ~self.free(p)
        if bool(bad.any()):
            where = [round(v, 4) for v in p[bad][0].tolist()]
            raise ValueError(
                f"the {name} must be inside the square [{self.low:g}, {self.high:g}]² and outside walls; {int(bad.sum())} of {bad.numel()} "
                f"is not, the first at {where}. Draw free points with world.sample_free(n)"
            )

    def sample_free(self, n: int, *, generator: torch.Generator | None = None, margin: float = 0.0) -> Tensor:
        """Uniform free points, at least `margin` from obstacles and sides: `[*worlds, n, 2]`."""
        shape = (*self.worlds, n, 2)
        p = self._uniform(shape, generator)
        for _ in range(1000):
            bad = self.clearance(p) < margin if margin > 0 else ~self.free(p)
            if not bool(bad.any()):
                return p
            p = torch.where(bad.unsqueeze(-1), self._uniform(shape, generator), p)
        raise ValueError(f"expected a world with free space; 1000 tries found no free point at a margin of {margin:g}")

    def _uniform(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        u = torch.rand(tuple(shape), generator=generator, dtype=self.boxes.dtype, device=self.boxes.device)
        return self.low + (self.high - self.low) * u

    def geodesic(self, a: Tensor, b: Tensor) -> Tensor:
        """Length of the shortest free path from a to b; infinity where there is none.

        Exact for boxes (a shortest path bends at corners of walls only: Dijkstra on the visibility graph); around a disc at
        most 0.1 % too long.

        Args:
            a, b: `[*worlds, n, 2]`, free points.

        Returns:
            `[*worlds, n]`, float64.

        Raises:
            ValueError: a start or a goal in a wall.

        References:
            Computational geometry: algorithms and applications (de Berg, Cheong, van Kreveld, Overmars, 2008), chapter 15.

        Example:
            >>> world = wall_world(torch.tensor([0.5, 0.5]), half_thickness=0.1, half_door=0.1)
            >>> a, b = torch.tensor([[0.2, 0.1]]), torch.tensor([[0.8, 0.1]])
            >>> round(world.geodesic(a, b).item(), 4)  # up to the door's lower corner, through, down
            0.9211
        """
        world, a, b = self.to(torch.float64), a.double(), b.double()
        if a.shape != b.shape or a.ndim != len(self.worlds) + 2:
            raise ValueError(f"expected a and b of one shape [*worlds, n, 2]; got {tuple(a.shape)} and {tuple(b.shape)}")
        world.check_free(a, "start")
        world.check_free(b, "goal")
        direct = world._lengths(a, b, pairs=False)
        corners = world._corners()
        if not corners.shape[-2]:
            return direct
        between = world._lengths(corners, corners)
        for _ in range(max(1, math.ceil(math.log2(max(2, corners.shape[-2]))))):  # paths of 1, 2, 4, ... edges
            between = torch.minimum(between, (between.unsqueeze(-1) + between.unsqueeze(-3)).amin(-2))
        to, back = world._lengths(a, corners), world._lengths(b, corners)
        via = (to.unsqueeze(-1) + between.unsqueeze(-3)).amin(-2) + back
        return torch.minimum(direct, via.amin(-1))

    def _lengths(self, a: Tensor, b: Tensor, *, pairs: bool = True) -> Tensor:
        """Lengths of the free moves from each of a to each of b (to its own b without `pairs`); infinity for the others."""
        p, q = torch.broadcast_tensors(a.unsqueeze(-2), b.unsqueeze(-3)) if pairs else (a, b)
        return torch.where(self.segment_free(p, q), (q - p).norm(dim=-1), math.inf)

    def _corners(self) -> Tensor:
        """Corners where a shortest path can bend, `[*worlds, 4 K + 64 D, 2]`; those in a wall have no free move."""
        x0, y0, x1, y1 = self.boxes.unbind(-1)
        boxes = torch.stack([torch.stack([x, y], -1) for x in (x0, x1) for y in (y0, y1)], -2)
        angle = (torch.arange(DISC_CORNERS, dtype=self.discs.dtype) + 0.5) * (2 * math.pi / DISC_CORNERS)
        about = torch.stack([angle.cos(), angle.sin()], -1) * (1 + 1e-6) / math.cos(math.pi / DISC_CORNERS)
        discs = self.discs[..., None, :2] + about * self.discs[..., None, 2:]
        return torch.cat([boxes.flatten(-3, -2), discs.flatten(-3, -2)], -2)


@dataclass(frozen=True, kw_only=True)
class PointRobot:
    """A point that moves straight by at most `max_step`; a blocked move is cancelled, or slides.

    Args:
        max_step: the longest move; longer actions are shortened to it.
        slide: try the two axes one after the other instead of the straight line, so that a robot glides along walls.
        substeps: a sliding move is made in so many parts.
    """

    max_step: float
    slide: bool = False
    substeps: int = 1

    def __post_init__(self) -> None:
        if self.max_step <= 0 or self.substeps < 1:
            raise ValueError(f"expected max_step > 0 and substeps >= 1; got {self.max_step} and {self.substeps}")

    def move(self, world: World, s: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """One move.

        Args:
            s, action: `[*worlds, *n, 2]`.

        Returns:
            The next states, and whether the move was blocked (`[*worlds, *n]`): cancelled, or with `slide` shortened.
        """
        length = action.norm(dim=-1, keepdim=True)
        action = action * (self.max_step / length.clamp_min(self.max_step))
        if not self.slide:
            ok = world.segment_free(s, s + action)
            return torch.where(ok.unsqueeze(-1), s + action, s), ~ok
        blocked = torch.zeros(s.shape[:-1], dtype=torch.bool, device=s.device)
        for _ in range(self.substeps):
            for axis in range(2):
                part = torch.zeros_like(s)
                part[..., axis] = action[..., axis] / self.substeps
                ok = world.segment_free(s, s + part)
                s = torch.where(ok.unsqueeze(-1), s + part, s)
                blocked |= ~ok
        return s, blocked

    def walk(self, world: World, s: Tensor, steps: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Random moves, uniform in the disc of radius `max_step`: states `[steps + 1, *worlds, *n, 2]`; blocked ones repeat."""
        states = [s]
        for _ in range(steps):
            u = torch.rand((2, *s.shape[:-1]), generator=generator, dtype=s.dtype, device=s.device)
            radius, angle = self.max_step * u[0].sqrt(), 2 * math.pi * u[1]
            states.append(self.move(world, states[-1], torch.stack([radius * angle.cos(), radius * angle.sin()], -1))[0])
        return torch.stack(states)


def _world(boxes: Sequence[Sequence[float]], *, low: float = 0.0, high: float = 1.0) -> World:
    return World(boxes=torch.tensor(boxes).reshape(-1, 4), discs=torch.zeros(0, 3), low=low, high=high)


def empty_world() -> World:
    """The unit square without obstacles."""
    return _world([])


def disc_world(*, radius: float = 0.2, centre: Sequence[float] = (0.5, 0.5)) -> World:
    """The unit square with one disc, for obstacles that no training data have seen."""
    return World(boxes=torch.zeros(0, 4), discs=torch.tensor([[*centre, radius]]))


def wall_world(context: Tensor, *, half_thickness: float = 0.02, half_door: float = 0.08) -> World:
    """The unit square cut by an upright wall with one door: the context says where.

    Args:
        context: `[*worlds, 2]`: (x of the wall, y of the middle of the door).
        half_thickness, half_door: half the thickness of the wall, half the height of the door.

    Raises:
        ValueError: a context of another shape, or a door that leaves the square.

    Example:
        >>> wall_world(torch.tensor([[0.3, 0.5], [0.7, 0.2]])).worlds
        (2,)
    """
    if context.shape[-1:] != (2,):
        raise ValueError(f"expected a context [*worlds, 2] of (wall x, door y); got {tuple(context.shape)}")
    x, y = context.unbind(-1)
    lowest, highest = float(context[..., 1].min()) - half_door, float(context[..., 1].max()) + half_door
    if lowest < 0 or highest > 1:
        raise ValueError(
            f"expected doors inside [0, 1]; they reach from {lowest:.3f} to {highest:.3f}. Keep door y in [half_door, 1 - half_door]"
        )
    left, right, end = x - half_thickness, x + half_thickness, torch.ones_like(x)
    below = torch.stack([left, -end, right, y - half_door], -1)  # walls go on outside the square: no gap along its sides
    above = torch.stack([left, y + half_door, right, 2 * end], -1)
    return World(boxes=torch.stack([below, above], -2), discs=torch.zeros(*x.shape, 0, 3, dtype=x.dtype, device=x.device))


def random_walls(n: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Contexts of `wall_world`, `[n, 2]`: wall x uniform in (.3, .7), door y uniform in (.15, .85)."""
    u = torch.rand(n, 2, generator=generator)
    return torch.tensor([0.3, 0.15]) + u * torch.tensor([0.4, 0.7])


def four_rooms(*, size: float = 11.0) -> World:
    """Four rooms in a square of side `size`, in cells of size / 11: walls one cell thick, four doors one cell wide."""
    walls: list[tuple[float, ...]] = [(5, -11, 6, 2), (5, 3, 6, 8), (5, 9, 6, 22)]  # upright
    walls += [(-11, 5, 1, 6), (2, 5, 5.5, 6), (5.5, 4, 8, 5), (9, 4, 22, 5)]
    scale = size / 11
    return _world([[v * scale for v in w] for w in walls], high=size)


def maze(n: int = 5, *, seed: int = 0, thickness: float = 0.04) -> World:
    """A perfect maze of n x n cells in the unit square: one way between any two cells, drawn by depth-first search.

    Args:
        n: cells a side.
        seed: one seed, one maze.
        thickness: of the walls.
    """
    if n < 2 or not 0 < thickness < 0.5 / n:
        raise ValueError(
            f"expected n >= 2 and 0 < thickness < half a cell, {0.5 / n:.3f}; got n = {n} and thickness = {thickness}"
        )
    generator = torch.Generator().manual_seed(seed)
    opened, seen, stack = set(), {(0, 0)}, [(0, 0)]
    while stack:
        i, j = stack[-1]
        ways = [c for c in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)) if min(c) >= 0 and max(c) < n and c not in seen]
        if not ways:
            stack.pop()
            continue
        other = ways[int(torch.randint(len(ways), (), generator=generator))]
        opened.add(frozenset({(i, j), other}))
        seen.add(other)
        stack.append(other)
    h, cell, walls = thickness / 2, 1 / n, []
    for i in range(n):
        for j in range(n):
            x, y = (i + 1) * cell, (j + 1) * cell
            if i + 1 < n and frozenset({(i, j), (i + 1, j)}) not in opened:
                walls.append((x - h, y - cell - h, x + h, y + h))  # longer by h, so that walls that meet overlap
            if j + 1 < n and frozenset({(i, j), (i, j + 1)}) not in opened:
                walls.append((x - cell - h, y - h, x + h, y + h))
    return _world(walls)
