"""The verbs of a user, and how their work is cut and run.

- `preparing`: `prepare`: templates and masks resolved to arrays
- `searching`: where and how poses are looked for: the options of a search, one value
- `planning`: the arguments of an alignment checked, before any work starts
- `findings`: what looks wrong in them, and costs little to see
- `sharing`: what goes to a worker in another process, and what it does there
- `running`: work in parts, here or by an executor, that ends soon when it must
- `checkpoints`: finished chunks kept in a folder, and found there again
- `working`: a job worked off chunk by chunk: run, kept, shown, told of
- `posing`: poses of boxes, found chunk by chunk
- `aligning`: `align`, and its parts `align_subtomograms` and `apply_alignment`
- `clustering`: particles that belong together: near ones, boxes, filaments
- `halving`: `halves` of the particles, `Halves` of maps, which stay apart
- `sets`: `distinct` particles, copies by symmetry, nearest neighbours
- `outlining`: points of each filament or surface; `covering`: seeds over one of these
- `seeding`: `helix` and `lattice`: particles along filaments and over surfaces
- `averaging`: `average`, and `half_averages`
- `classifying`: `classify`: expectation maximisation over references
- `sorting`: its iterations; `measuring`: particles at their waves, for those
- `scoring`: `score` at poses, `landscape` around them
- `subtracting`: `subtract`: boxes without a part of the particle
- `correlating`: `fsc` of two maps, by direction, and by place
- `wiener`: maps as far as their halves support them
- `joining`: one frame for two halves that no template has tied
- `iterating`: the iterations of a refinement, each a frozen value
- `refining`: `refine`: its arguments, checked before any work
- `checking`: `check`, all findings
- `doubts`: what to distrust in a result
"""
