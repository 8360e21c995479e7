"""Tomograms that are open, which particles lie in which, and what is cut of them.

- `cutting`: boxes cut out of a tomogram, out of core, in each particle's frame
- `tomograms`: one tomogram or many, and which particles lie in which
"""
