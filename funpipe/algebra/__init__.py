"""The algebra of pipelines: arrays and toolz, and nothing of cryo-ET.

- `binding`: arguments bound to a stage's parameters when a pipeline is built
- `currying`: what stage functions and verbs share: they wait, and say for what
- `verbs`: the decorator `verb`, of functions that take their data last
- `operators`: ``+ - * / ** & | ~ < <= > >=`` as pointwise operations
- `source_text`: the ``repr`` of pipelines
- `mistakes`: what is said of pipelines that are put together the wrong way
- `signatures`: what type checkers see of curried functions
- `pipeline`: `ImageProvider`, `ImageConverter`, `compose`, `identity`, `lift`
- `stages`: what a pipeline consists of, equal and printed as each knows
- `diagram`: a pipeline as boxes in HTML, for notebooks
- `tracing`: its image after every stage
- `stage_functions`: the decorators `provider_function`, `converter_function` and
  `derived_function`
"""
