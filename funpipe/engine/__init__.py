"""The engine: arrays in and arrays out. It knows no files, pipelines or molecules.

- `seam`: what an engine is, and how to write one: `Engine`, and its answer, `Match`
- `bank`: all of a search that does not depend on the particles
- `coverage`: how few waves, rotations and shifts a search can do with
- `kernel`: exp(2πi k·t) as a sum of few products
- `data`: what particles are at the waves of a search, and what was done to them
- `matching`: the best pose of a box; the formula of the score is at its top
- `spectra`: a template's Fourier transform between the frequencies of its box
- `gauss_newton`: from a pose of the search to the optimum, and its uncertainty;
  `steps`: a quadratic about a pose, for that
- `compiled`: its sums over waves by numba, where it is installed
- `shells`: shells of |k|, and the noise's variance in each
- `noise`: the noise where a particle lies, and what the data lack of a template
- `posterior`: how likely all poses of a search are: mean pose, evidence
- `cells`: the window of a search and its grid; `prior`: how likely poses there are
- `turns`: angles and vectors between rotations
- `weighing`: poses of weak particles are the mean of what may be true
- `classes`: references and evidence of classes at poses, and where they start
- `scores`: of all poses of a search, none left out
- `basis`: turned templates of a whole search as sums of few functions
- `sweep`: where in a tile of a tomogram they fit; `chances`: what may be left out
- `rivals`: other templates beside them: how they score by chance, and where those are
- `rescoring`: the best pose around a place; `exactly`: nothing left out that may count
- `background`: scores corrected by what a background scores there; `tophat`: less what
  they hold along a line
- `amplitude`: of a job's particles together, and the odds that a place holds one
- `integrals`: of likelihoods around their maxima, for that; `shift_integrals`: over all
  shifts
- `limits`: how far the poses of a search may go
- `settings`: the constants of the search, with what each trades
- `costs`: what memory a search takes, told before it is built
"""

from funpipe.engine.seam import Engine as Engine
from funpipe.engine.seam import Match as Match
