"""Archives and pickles for the CIFAR-10 reader that nobody has published.

With the published checksums every one of them must be refused at the door; with checksums that were made to
fit, which nobody can do to a SHA-256, the door is open, and what lies behind it is tested too.
"""
import functools
import gzip
import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np

ADMITTED = ('numpy.ndarray', 'numpy.dtype', 'numpy.core.multiarray._reconstruct',
            'numpy._core.multiarray._reconstruct',
            '_codecs.encode')
MEMBERS = [f'cifar-10-batches-py/data_batch_{number}'
           for number in range(1, 6)] + ['cifar-10-batches-py/test_batch']


def good_batch(protocol: int = 2) -> bytes:
    "A pickled batch of four images."
    data = (np.arange(4 * 3072) % 251).astype(np.uint8).reshape(4, 3072)
    batch = {'data': data, 'labels': [0, 1, 2, 3], 'batch_label': 'x', 'filenames': ['a'] * 4}
    return pickle.dumps(batch, protocol)


class Call:
    "Pickled, it is a call."
    def __init__(self, function, *arguments): self.parts = function, arguments
    def __reduce__(self): return self.parts


def _call(function, *arguments, protocol=2):
    return pickle.dumps({'data': Call(function, *arguments), 'labels': []}, protocol)


def _text(words): return b'(S\'data\'\n' + words + b"(S'touch executed'\ntRd."


def pickles() -> dict:
    "Name to a pickle that asks for more than arrays."
    names = ['os system', 'posix system', 'subprocess Popen', 'builtins eval', 'builtins exec',
             'builtins getattr', 'builtins __import__',
             'shutil rmtree', 'numpy load', 'numpy fromfile', 'torch load', 'torch.hub load', 'pickle loads',
             'numpy.core.multiarray fromfile',
             'numpy._core.multiarray scalar', 'numpy.ndarray fromfile', '_codecs encode.__globals__',
             '_codecs decode', 'codecs open',
             'io open', 'builtins open', 'ctypes CDLL', 'webbrowser open', 'urllib.request urlopen',
             'socket create_connection',
             'runpy run_path', 'code interact', 'importlib import_module', 's8lib.cifar10 _Pixels',
             'numpy.f2py.crackfortran myeval']
    cases = {f'calls {name}': _text(b'c' + name.replace(' ', '\n').encode() + b'\n') for name in names}
    cases |= {'calls by a newer protocol': _call(os.system, 'touch executed', protocol=4),
              'instance': b"(S'touch executed'\nios\nsystem\n.",
              'object': b"\x80\x02(cos\nsystem\nU\x0etouch executedo.",
              'extension': b'\x80\x02\x82\x01.', 'persistent': b'Pos.system\n.',
              'persistent by stack': b"S'a'\nQ.",
              'endless depth': b'(' * 10**6 + b'.', 'deep lists': b']' * 10**5 + b'a' * (10**5 - 1) + b'.',
              'large place': b'\x80\x02]r\xff\xff\xff\x7f.',
              'huge text': b'\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fa.',
              'huge number': b'\x80\x02\x8b\xff\xff\xff\x7f.', 'digits': b'I' + b'9' * 10**6 + b'\n.',
              'tuples': b'\x80\x02)' + b'2\x86' * 10**4 + b'.',
              'doubling': b'\x80\x02]' + b'q\x00(' + b'h\x00' * 10**5 + b'e.',
              'out of band': b'\x80\x05\x97.', 'empty': b'', 'stop': b'.', 'two stops': good_batch() + b'.',
              'no dictionary': pickle.dumps([1], 2),
              'half': good_batch()[:999], 'text': b'hello', 'no images': pickle.dumps({'labels': [0]}, 2),
              'shape': pickle.dumps({'data': np.zeros((2, 3), np.uint8), 'labels': [0, 1]}, 2),
              'floats': pickle.dumps({'data': np.zeros((2, 3072)), 'labels': [0, 1]}, 2),
              'objects': pickle.dumps({'data': np.array([[None] * 3072]), 'labels': [0]}, 2),
              'columns': pickle.dumps({'data': np.asfortranarray(np.zeros((2, 3072), np.uint8)),
                                       'labels': [0, 1]}, 2),
              'nested arrays': pickle.dumps({'data': [np.zeros((2, 3072), np.uint8)], 'labels': [0, 1]}, 2),
              'labels of text': pickle.dumps({'data': np.zeros((2, 3072), np.uint8), 'labels': ['a', 'b']},
                                             2),
              'labels without end': pickle.dumps({'data': np.zeros((2, 3072), np.uint8),
                                                  'labels': [10**30, 0]}, 2),
              'few labels': pickle.dumps({'data': np.zeros((2, 3072), np.uint8), 'labels': [1]}, 2),
              'labels missing': pickle.dumps({'data': np.zeros((2, 3072), np.uint8)}, 2),
              'wrong labels': pickle.dumps({'data': np.zeros((2, 3072), np.uint8), 'labels': [1, 99]}, 2),
              'labels by number': pickle.dumps({'data': np.zeros((2, 3072), np.uint8), 'labels': 3}, 2),
              'unhashable key': b'\x80\x02}]]s.', 'bytes as keys': pickle.dumps({b'data': 1}, 4)}
    return cases


def archive(members: list, content: bytes | None = None, packed: bool = True) -> bytes:
    "A tar file of these members: names, or `tarfile.TarInfo`."
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as tar:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            body = (good_batch() if content is None else content) if info.isreg() else b''
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return gzip.compress(file.getvalue(), 1, mtime=0) if packed else file.getvalue()


def _info(name, kind, target=''):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


def _linked(kind, target): return archive([_info(name, kind, target) for name in MEMBERS])


def archives() -> dict:
    "Name to what lies where the archive is expected: its bytes, or a function that makes something else."
    good = archive(MEMBERS)
    plain = gzip.decompress(good)
    return {
        'upwards': archive(['../executed', *MEMBERS]), 'absolute': archive(['/executed', *MEMBERS]),
        'only upwards': archive([f'../{name}' for name in MEMBERS]),
        'symbolic links': _linked(tarfile.SYMTYPE, '/etc/passwd'),
        'hard links': _linked(tarfile.LNKTYPE, '/etc/passwd'),
        'links to itself': _linked(tarfile.LNKTYPE, MEMBERS[0]),
        'circle of links': _linked(tarfile.SYMTYPE, 'data_batch_1'), 'devices': _linked(tarfile.CHRTYPE, ''),
        'pipes': _linked(tarfile.FIFOTYPE, ''), 'folders': _linked(tarfile.DIRTYPE, ''),
        'missing members': archive(MEMBERS[:3]),
        'empty tar': archive([]), 'twice': archive([*MEMBERS, *MEMBERS]),
        'calls': archive(MEMBERS, _call(os.system, 'touch executed')),
        'empty members': archive(MEMBERS, b''), 'not packed': plain, 'packed twice': gzip.compress(good),
        'half': good[:len(good) // 2], 'one byte less': good[:-1], 'wrong end': good[:-8] + bytes(8),
        'empty': b'', 'text': b'<html>404',
        'zeros': bytes(10**6), 'bomb': _bomb(), 'huge member': _huge_member(),
        'header only': gzip.compress(plain[:512]),
        'wrong header': gzip.compress(b'\xff' * 512 + plain[512:]),
        'many members': gzip.compress(b''.join(_many())),
        'pipe': os.mkfifo, 'folder': Path.mkdir, 'device': lambda path: path.symlink_to('/dev/zero'),
        'circle': lambda path: path.symlink_to(path.name),
        'dangling': lambda path: path.symlink_to('nowhere')}


@functools.cache
def _bomb(): return gzip.compress(bytes(2**30), 9)


def _huge_member():
    info = tarfile.TarInfo(MEMBERS[0])
    info.size = 2**40
    return gzip.compress(info.tobuf() + bytes(1024))


def _many():
    head = tarfile.TarInfo('a').tobuf()
    return [head] * 10**5


def fitting(data: bytes):
    "Checksums that were made for an archive."
    from s8lib.cifar10 import ARCHIVE
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return ARCHIVE._replace(num_bytes=len(data), md5=md5, sha256=hashlib.sha256(data).hexdigest())
