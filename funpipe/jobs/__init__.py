"""The verbs of a user, and how their work is cut and run.

- `preparing`: `prepare`: templates and masks resolved to arrays
- `searching`: where and how poses are looked for: the options of a search, one value
- `regions`: where in a tomogram particles are looked for; `contoured`: in a model
- `planning`: the arguments of an alignment checked, before any work starts
- `findings`: what looks wrong in them, and costs little to see
- `sharing`: what goes to a worker in another process, and what it does there;
  `workers`: who works where nobody says
- `together`: brief parts of work, several of which go to a worker together
- `interrupts`: interrupts that are not lost
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
- `picking`: `search`; `sweep_planning`: its arguments, checked before any work
- `looking`: what tomograms are swept for, and how each shows it
- `sweeping`: a tomogram swept tile by tile for turned templates
- `nulls`: a search for what is not there, for comparison; `chance`: mirror images and
  noise like templates and tomograms, for that; `rivals`: how those compare with them
- `choosing`: which of the peaks are picks
- `spacing`: peaks that are apart, by a distance or a mask's shape
- `odds`: which part of those is false, and how likely each is a particle
- `backgrounds`: templates that no particle looks like
- `recording`: what was searched, and what came of it, beside the picks
- `score_maps`: the best score and orientation of each place, likewise
- `refining`: `refine`: its arguments, checked before any work
- `checking`: `check`, all findings
- `doubts`: what to distrust in a result
"""
