"""The verbs of a user, and how their work is cut and run.

- `preparing`: `prepare`: templates and masks resolved to arrays
- `searching`: where and how poses are looked for: the options of a search, one value
- `planning`: the arguments of an alignment checked, before any work starts
- `findings`: what looks wrong in them, and costs little to see
- `running`: work in parts, here or by an executor, that ends soon when it must
- `posing`: poses of boxes, found part by part
- `aligning`: `align`, and its parts `align_subtomograms` and `apply_alignment`
- `averaging`: `average`
- `checking`: `check`, all findings
"""
