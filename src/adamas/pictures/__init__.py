"""Pictures of optimizers on a surface: a page that computes by itself, an animation, a strip."""

from adamas.pictures.scene import Entry, Panel, Scene, demo, entry, surface

__all__ = ["Entry", "Panel", "Scene", "demo", "entry", "surface"]
