"""What everything stands on; imports nothing else of the package but its own.

- `errors`: errors that carry what they are about: the argument, the file
- `wording`: how errors are worded: what must be, what is, what to write instead
- `arguments`: checks of arguments, by name and value; the types in signatures
- `caller`: warnings on the line that called; errors of functions that were given
- `extras`: optional libraries, the error when one is missing, and theirs in one line
- `sources`: files as they are read: ordinary ones, of bounded size
- `whole`: files written whole or not at all, also by several at a time
- `digests`: values known again by their content
- `threads`: one thread of BLAS, for the sake of others and of the last digits
- `texts`: what the texts of a column stand for, and which a file can hold
- `euler`: Euler angles of other programs, through matrices
- `csv_files`: CSV files as columns of texts, and back
- `features`: features of particles, from arrays and columns of data frames
- `molecule_poses`: `Molecules` moved, turned, from Euler angles and axes
- `molecule_groups`: `Molecules` in groups, sorted, split
- `molecule_tables`: `Molecules` as CSV files, data frames, and in a notebook
- `molecules`: `Molecules`, to which these belong
"""
