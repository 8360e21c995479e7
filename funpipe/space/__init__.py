"""The space that images, waves and rotations live in: functions of arrays.

- `geometry`: grids, centres, rotating images, rotation searches
- `symmetry`: point groups, and searches with one of each that look the same
- `fourier`: exact resampling, transfer functions of filters, tilt weights
- `shells`: the Fourier shell correlation of two maps, and their resolution
- `precision`: numbers of any level and scale, in single precision
"""
