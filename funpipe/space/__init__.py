"""The space that images, waves and rotations live in: functions of arrays.

- `geometry`: grids, centres, rotating images, rotation searches
- `symmetry`: point groups, and searches with one of each that look the same
- `curves`: smooth curves by arc length, and frames along them
- `surfaces`: points spread over surfaces, and their normals
- `contours`: closed contours in planes, and what they outline
- `fourier`: exact resampling, transfer functions of filters
- `microscope`: checks of a microscope's settings, and of tilts'
- `optics`: contrast transfer of the microscope, and what dose leaves of a wave
- `tilts`: what a tilt series measures: missing wedges
- `transfer`: what a tilt series leaves of each wave; `series` makes one, checked
- `spectra`: transforms between the frequencies of a box: a fine grid and a gather
- `splines`: cubic splines through an image's voxels
- `compiled`, `compiled_splines`: loops of these by numba, where it is installed
- `crops`: subtomograms along the tomogram's axes, and their transforms
- `shells`: the Fourier shell correlation of two maps, and their resolution
- `views`: from where particles were seen, and how evenly
- `local_shells`: the same around each voxel
- `precision`: numbers of any level and scale, in single precision
"""
