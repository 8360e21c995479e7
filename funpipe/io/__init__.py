"""Files in and out: a file for each family of formats, thin over its library.

Volumes:

- `voxels`: what a volume in a file is; arrays read only where they are sliced
- `rows`: arrays that lie in a file as they are, read row by row
- `mrc`, `tiff`, `hdf5`, `ome_zarr`, `em` (lists too): a file a format
- `volumes`: a volume of any format opened, read, written
- `structures`: atoms of PDB and mmCIF

Particle lists:

- `formats`: what a format of lists or volumes says of itself, and tables of them
- `columns`: what lists of columns have in common
- `star`: STAR files as blocks of columns
- `json_values`: JSON files, bounded, each field once, finite numbers
- `relion_poses`, `relion_tomograms`: the poses that RELION's columns say, and its
  tomograms files
- `table_map`: the names of a Dynamo table's tomograms, in a file beside it
- `relion`, `m_species`, `warp`, `stopgap`, `dynamo`, `em`, `portal`, `copick`, `eman2`,
  `cryosparc`, `mod`, `peet`, `tables`: a file a family
- `particles`: `read_molecules` and `write_molecules`, which choose among them
- `tomogram_files`: which file in a folder is the tomogram of which name
"""
