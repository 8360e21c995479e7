"""Tomograms that are open, which particles lie in which, and what is cut of them.

- `opening`: from what is given, one tomogram or many, to what is open, with its checks
- `listed`: `read_tomograms`, which reads all tomograms of a program's list
- `chunks`: some particles each, small and complete, which any process can work on
- `blocks`: what boxes need of a tomogram is read, out of core
- `cutting`: boxes cut in each particle's frame, some particles at a time
- `cropping`: crops cut along the tomogram's axes, which are not turned, likewise
- `inside`: which voxels of a tomogram an array or a file of its extent marks
- `region`: the part of a tomogram that is looked at
"""
