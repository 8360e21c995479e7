"""Faces: other ways to what the package does, and pictures of it.

- `loader`: `SubtomogramLoader`, a tomogram and its molecules as one record
- `plots`: pictures of images, curves, poses; `funpipe.plot`
- `pages`: a page of HTML in one file
- `reporting`: `report`, a result as a page; `telling`: what it says
- `viewing`: volumes and particles as layers of napari
- `demo`: the main job on a real structure in simulated noise; its map is in ``data``
- `inspect_list`, `inspect_file`: what a list, and any file, holds, in a few lines
- `command_options`, `command_groups`: ``python -m funpipe``, what can be asked for
- `command_values`, `command_tilts`, `command_lists`: what it is told, and by what files
- `command_search`, `command_line`: what is done
"""
