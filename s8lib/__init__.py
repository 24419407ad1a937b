"From a small-image dataset to an explained mistake: `train`, `explain`, `save_report`."
__version__ = "0.1.0"

_VERBS = ('train', 'explain', 'save_report', 'open_run', 'image_set',
          'label_issues', 'groups', 'compare_runs', 'browse', 'export_run')

def __getattr__(name):
    "Load a verb, and PyTorch with it, when it is asked for. Ctrl-C waits: half an import cannot be repeated."
    if name not in _VERBS: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from .interrupts import interruptible
    with interruptible() as interruption: from . import main
    if interruption.signal: raise KeyboardInterrupt
    return getattr(main, name)

def __dir__(): return [*globals(), *_VERBS]
