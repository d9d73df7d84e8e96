"""Planning with energies: small worlds, graphs whose edges an energy draws, and energies of whole trajectories."""

from .graphs import EdgeRates, EnergyGraph, Path, Walk, edge_rates, follow, length, oracle, soft_risk, threshold_at
from .worlds import PointRobot, World, disc_world, empty_world, four_rooms, maze, random_walls, wall_world

__all__ = [
    "EdgeRates",
    "EnergyGraph",
    "Path",
    "PointRobot",
    "Walk",
    "World",
    "disc_world",
    "edge_rates",
    "empty_world",
    "follow",
    "four_rooms",
    "length",
    "maze",
    "oracle",
    "random_walls",
    "soft_risk",
    "threshold_at",
    "wall_world",
]
