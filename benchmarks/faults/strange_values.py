"Names, arrays and options that nobody wants, each with what must come of it."
import numpy as np

CONTROLS = {
    'title': '\x1b]0;owned\x07', 'erase': '\x1b[2J\x1b[H', 'bell': 'a\x07', 'newline': 'a\nb',
    'return': 'good\rbad',
    'backspace': 'bad\b\b\bgood', 'tab': 'a\tb', 'delete': 'a\x7f', 'c1': 'a\x9b31m',
    'override': 'a\u202egnp.exe',
    'isolate': '\u2066a\u2069', 'line separator': 'a\u2028b', 'invisible': 'a\u200bb', 'joiner': 'a\u200db',
    'mark': '\ufeffa', 'not text': 'caf\udce9', 'only bytes': '\udcff\udcfe', 'private': '\ue000',
    'unassigned': '\U000e0fff',
    'emoji': '👩‍👩‍👧', 'combining': 'e' + '\u0301' * 60, 'hebrew': 'שלום', 'long': 'a' * 200,
    'longest': 'é' * 125}
WORDS = {
    'dollar': '$', 'mathtext': '$\\frac', 'formula': '$x^2$', 'broken formula': '$\\unknown{',
    'percent': '%s%n%d',
    'braces': '{0}{config}', 'template': '{{ 7 * 7 }}{% raw %}', 'markup': '<script>alert(1)<',
    'entity': '&lt;&#x41;',
    'quotes': '"\'`', 'space': ' ', 'spaces': ' a ', 'option': '--help', 'dash': '-', 'backslash': 'a\\nb',
    'star': '*?[a]',
    'tilde': '~', 'variable': '$HOME', 'command': '`touch executed`', 'pipe': '|touch executed',
    'semicolon': ';touch executed',
    'dots': 'a...', 'none': 'None', 'number': '0', 'comma': 'a,b', 'colon': 'a:b', 'hash': '#',
    'sql': "'; drop table a",
    'device': 'CON', 'json': '{"a": 1}', 'underscore': '_hidden', 'at': '@file'}
NAMES = CONTROLS | WORDS


def _images(count=8, channels=3):
    return np.arange(count * 32 * 32 * channels, dtype=np.uint8).reshape(count, 32, 32, channels)


def _labels(count=8): return np.arange(count) % 2


class Strange:
    "It says that it is an array."
    def __array__(self, *arguments, **options): raise RuntimeError('no')


def image_sets() -> dict:
    "Name to changes of a good set's arguments, and whether to accept them, unchanged, is right as well."
    images = _images()
    labels = _labels()
    bad_labels = dict(
        floats=labels.astype(float), nan=np.full(8, np.nan), infinite=np.full(8, np.inf),
        two_dimensional=labels[:, None],
        one_hot=np.eye(2)[labels], text=labels.astype(str), objects=np.array([None] * 8), negative=labels - 1,
        large=labels + 1,
        larger=labels + 2**62, unsigned=labels.astype(np.uint64) + np.uint64(2**63),
        booleans=labels.astype(bool), short=labels[:7],
        long=_labels(9), none=None, number=1, scalar=np.array(1), empty=labels[:0],
        complex=labels.astype(complex),
        dates=labels.astype('datetime64[s]'), strange=Strange(), dictionary={}, text_itself='01010101',
        ragged=[[0], [1, 2]],
        masked=np.ma.masked_array(labels, labels == 1), records=np.zeros(8, [('a', int)]))
    bad_images = dict(
        floats=(images / 255), small_floats=(images / 255).astype(np.float32),
        nan=np.full(images.shape, np.nan),
        shorts=images.astype(np.int16), ints=images.astype(int) - 1, signed=images.view(np.int8),
        booleans=images > 9,
        channels_first=images.transpose(0, 3, 1, 2), grey=images[..., 0], one=images[0], five=images[None],
        two_channels=images[..., :2],
        four_channels=_images(channels=4), many_channels=_images(channels=32), empty=images[:0],
        no_height=images[:, :0],
        no_width=images[:, :, :0], no_channels=images[..., :0], none=None, text='images',
        objects=images.astype(object),
        strings=images.astype(str), complex=images.astype(complex), number=3, strange=Strange(),
        dictionary={},
        records=np.zeros((8, 32, 32, 3), [('a', np.uint8)]), file_names=np.array(['a.png'] * 8),
        ragged=[images[0], images[1, :9]], endless=iter(int, 1))
    either_labels = {kind: labels.astype(kind) for kind in ('int8', 'int16', 'int32', 'uint8', 'uint32',
                                                            '>i8', '<u2')}
    either_labels |= dict(listed=labels.tolist(), tuple=tuple(labels.tolist()),
                          strided=np.repeat(labels, 2)[::2],
                          read_only=_locked(labels))
    either_images = dict(listed=images.tolist(), strided=images[:, ::-1], columns=np.asfortranarray(images),
                         read_only=_locked(images),
                         grey=images[..., :1], subclass=images.view(np.recarray),
                         mapped=images.view(np.memmap))
    classes = dict(one=('a',), none=None, empty=(), numbers=(0, 1), twice=('a', 'a'), bytes=(b'a', b'b'),
                   text='ab', nested=(('a',), ('b',)),
                   empty_names=('', 'a'), missing=('a', None), generator=iter('ab'), number=2,
                   dictionary=dict(a=0, b=1), floats=(.5, float('nan')))
    masks = dict(shape=np.ones((8, 9, 9), bool), few=np.ones((7, 32, 32), bool), numbers=np.ones((8, 32, 32)),
                 text='mask', four=images,
                 objects=np.full((8, 32, 32), None), strange=Strange())
    splits = dict(none=None, number=0, control='\x1b[2J', bytes=b'train', empty='')
    cases = {f'labels {name}': (dict(labels=value), False) for name, value in bad_labels.items()}
    cases |= {f'images {name}': (dict(images=value), False) for name, value in bad_images.items()}
    cases |= {f'labels {name}': (dict(labels=value), True) for name, value in either_labels.items()}
    cases |= {f'images as {name}': (dict(images=value), True) for name, value in either_images.items()}
    cases |= {f'classes {name}': (dict(classes=value),
                                  name in ('dictionary', 'generator', 'empty_names')) for name,
                                  value in classes.items()}
    cases |= {f'masks {name}': (dict(masks=value), False) for name, value in masks.items()}
    return cases | {f'split {name}': (dict(split=value), True) for name, value in splits.items()}


def _locked(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def good_set() -> dict:
    "The arguments of a set that is as it should be."
    return dict(images=_images(), labels=_labels(), classes=('a', 'b'), split='train')


VALUES = (None, '', 'x', b'x', -1, 0, 10**30, -10**30, 1e400, float('nan'), .5, True, [], ['x'], {}, {'a': 1},
          (1,), object, print,
          Strange(), np.float32('nan'), np.int64(-1), np.array([1, 2]), 'a' * 10**6, '\x1b[2J', 'caf\udce9',
          '\0', 1 + 2j)
