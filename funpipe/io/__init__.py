"""Files in and out: a file for each family of formats, thin over its library.

Volumes:

- `voxels`: what a volume in a file is; arrays read only where they are sliced
- `rows`: arrays that lie in a file as they are, read row by row
- `packed`: volumes in packed files, unpacked as far as they are read; `tiff` does so
  page by page
- `volumes`: a volume of any format opened, read, written; `VOLUMES` there names the
  module of each format
- `structures`: atoms of PDB and mmCIF

Particle lists:

- `formats`: what a format of lists or volumes says of itself, and tables of them
- `columns`: what lists of columns have in common
- `star`: STAR files as blocks of columns
- `json_values`: JSON files, bounded, each field once, finite numbers
- `relion_poses`, `relion_tomograms`: the poses that RELION's columns say, and its
  tomograms files
- `table_map`: the names of a Dynamo table's tomograms, in a file beside it
- `particles`: `read_molecules` and `write_molecules`, which choose among the formats;
  `LISTS` there names the module of each
- `tomogram_files`: which file in a folder is the tomogram of which name

Tilt series:

- `tilts`: `read_tilts`, which recognises files and merges several of one tilt series;
  `TILTS` there names the module of each format
- `tilt_facts`: what one file says, and texts and numbers as all of them read these
- `imod_tilts`, `serialem`, `aretomo`, `ctffind`, `warp_tilts`: a program's files each
- `tilt_stacks`: how many images a stack has
- `relion_tilts`: RELION's STAR files of tilt series, and all that a tomograms file
  names
"""

from funpipe.io.tilts import read_tilts

__all__ = ["read_tilts"]
