"""The stages that pipelines are made of, a file for each role.

- `providers`: functions of the scale that give an image
- `converters`: filters, and what moves, sizes and scales an image
- `masks`: converters that make masks
- `parsing`: pipelines from their source text, without running anything else
"""
