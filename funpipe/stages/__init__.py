"""The stages that pipelines are made of, a file for each role.

- `providers`: functions of the scale that give an image
- `converters`: filters, and what moves, sizes and scales an image
- `masks`: converters that make masks
- `physics`: converters that do what a microscope does: contrast, dose, tilts
- `parsing`: pipelines from their source text, without running anything else
"""
