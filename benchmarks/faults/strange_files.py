"""Image files that nobody wants: in odd formats and modes, cut, fuzzed, boundless, or no files at all.

`FILES` is a table: a name, which ends as the file does, to what writes it. All are made here, from a drawn
picture of 32×32 and a seed.
"""
import functools
import io
import os
import random
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32
COMMON = {'PNG': 'png', 'JPEG': 'jpg', 'GIF': 'gif', 'BMP': 'bmp', 'WEBP': 'webp', 'TIFF': 'tif',
          'PPM': 'ppm',
          'TGA': 'tga', 'JPEG2000': 'jp2'}
OTHERS = {'AVIF': 'avif', 'BLP': 'blp', 'DDS': 'dds', 'DIB': 'dib', 'EPS': 'eps', 'ICNS': 'icns',
          'ICO': 'ico',
          'IM': 'im', 'MPO': 'mpo', 'MSP': 'msp', 'PALM': 'palm', 'PCX': 'pcx', 'PDF': 'pdf', 'QOI': 'qoi',
          'SGI': 'sgi', 'SPIDER': 'spider', 'XBM': 'xbm'}
MODES = {'BLP': 'P', 'MSP': '1', 'PALM': 'P', 'SPIDER': 'F', 'XBM': '1'}


@functools.cache
def picture(mode: str = 'RGB') -> Image.Image:
    "A picture of 32×32 that compresses neither well nor badly."
    across = np.linspace(0, 255, SIDE)
    pixels = np.stack([np.add.outer(across, across) / 2, np.outer(across, across) / 255,
                       np.random.default_rng(0).uniform(0, 255, (SIDE, SIDE))], 2).astype(np.uint8)
    image = Image.fromarray(pixels)
    return image.convert('L').convert('F') if mode == 'F' else image.convert(mode)


@functools.cache
def encoded(kind: str, mode: str = 'RGB', **options) -> bytes:
    "The picture in a format."
    file = io.BytesIO()
    picture(mode).save(file, kind, **options)
    return file.getvalue()


def _writer(data):
    return lambda path: path.write_bytes(data() if callable(data) else data)


def _in_format(kind):
    return _writer(lambda: encoded(kind, MODES.get(kind, 'RGB')))


def formats() -> dict:
    "Each format that Pillow writes, by its own name and called .png and .jpg."
    files = {}
    for kind, suffix in (COMMON | OTHERS).items():
        files[f'{kind}.{suffix}'] = _in_format(kind)
        files[f'{kind} as.png'] = _in_format(kind)
        files[f'{kind} as.jpg'] = _in_format(kind)
    return files


def modes() -> dict:
    "PNG and TIFF files of every mode, JPEGs of the others."
    modes = {'png': ('1', 'L', 'LA', 'P', 'RGBA', 'I;16'),
             'tif': ('1', 'L', 'LA', 'P', 'RGBA', 'I', 'F', 'CMYK',
             'YCbCr', 'LAB', 'I;16'), 'jpg': ('L', 'CMYK', '1'), 'webp': ('RGBA',), 'gif': ('1', 'L', 'P')}
    kinds = dict(png='PNG', tif='TIFF', jpg='JPEG', webp='WEBP', gif='GIF')
    def write(suffix, mode): return _writer(lambda: encoded(kinds[suffix], mode))
    files = {f'mode {mode}.{suffix}': write(suffix, mode) for suffix,
             names in modes.items() for mode in names}
    clear = dict(transparency=0)
    return files | {'palette with a clear colour.png': _writer(lambda: encoded('PNG', 'P', **clear)),
                    'palette with clear bytes.png': _writer(lambda: encoded('PNG', 'P',
                                                                            transparency=bytes(range(256)))),
                    'grey with a clear value.png': _writer(lambda: encoded('PNG', 'L', **clear)),
                    'turned.jpg': _writer(turned)}


def turned() -> bytes:
    "A JPEG whose EXIF says that it lies on its side."
    exif = Image.Exif()
    exif[0x112] = 6
    return encoded('JPEG', exif=exif.tobytes())


def cut() -> dict:
    "The common formats, cut after a share of their bytes."
    def write(kind, share): return _writer(lambda: encoded(kind)[:int(len(encoded(kind)) * share)])
    return {f'cut at {share:.0%}.{suffix}': write(kind, share)
            for kind, suffix in COMMON.items() for share in (.01, .1, .5, .9, .999)}


def fuzzed_bytes(data: bytes, generator: random.Random) -> bytes:
    "Bytes with up to eight changes: a byte, a run of bytes, a number, a piece cut out, doubled or cut off."
    data = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 4, 8))):
        at = generator.randrange(len(data))
        kind = generator.randrange(6)
        length = generator.randrange(1, 17)
        if kind == 0: data[at] ^= 1 << generator.randrange(8)
        elif kind == 1: data[at:at + length] = generator.randbytes(length)
        elif kind == 2:
            data[at:at + 4] = struct.pack('>I', generator.choice((0, 1, 2**15, 2**31 - 1, 2**32 - 1)))
        elif kind == 3: del data[at:at + length]
        elif kind == 4: data[at:at] = data[at:at + length]
        elif len(data) > 8 and generator.random() < .3: del data[max(8, at):]
        if not data: data = bytearray(b'\0')
    return bytes(data)


def fuzzed() -> dict:
    "The common formats, changed at random."
    def write(kind, seed):
        return _writer(lambda: fuzzed_bytes(encoded(kind), random.Random(f'{kind} {seed}')))
    return {f'fuzzed {seed}.{suffix}': write(kind, seed) for kind,
            suffix in COMMON.items() for seed in range(8)}


def png(width: int, height: int, chunks: list = (), row: bytes = b'\0', rows: int | None = None) -> bytes:
    "A PNG file of one bit a pixel, made without its picture: chunks before the rows, and rows of zeros."
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    packer = zlib.compressobj(9)
    line = row + bytes((width + 7) // 8)
    piece = line * max(1, 2**20 // len(line))
    count = (height if rows is None else rows) * len(line)
    data = b''.join([packer.compress(piece) for _ in range(count // len(piece))] +
                    [packer.compress(piece[:count % len(piece)]), packer.flush()])
    head = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + head + b''.join(chunk(*each) for each in chunks) + chunk(b'IDAT', data) + \
        chunk(b'IEND', b'')


def _packed(size): return zlib.compress(bytes(size), 9)


def _bmp(width, height):
    return b'BM' + struct.pack('<IHHIIiiHHIIiiII', 100, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0,
                               0) + bytes(99)


def _jpeg(width, height):
    data = encoded('JPEG')
    at = data.index(b'\xff\xc0') + 5
    return data[:at] + struct.pack('>HH', height, width) + data[at + 4:]


def _gif(width, height, frames=1):
    head = b'GIF89a' + struct.pack('<HH', width, height) + b'\x80\0\0' + b'\0\0\0\xff\xff\xff'
    frame = b',' + struct.pack('<HHHH', 0, 0, width, height) + b'\0' + b'\x02\x02\x44\x01\0'
    return head + frame * frames + b';'


def _tiff(entries, next_at=0, at=8):
    "A TIFF file of one directory, which may follow itself."
    body = b''.join(struct.pack('<HHII', *entry) for entry in entries)
    head = b'II*\0' + struct.pack('<IH', at, len(entries))
    return head + body + struct.pack('<I', next_at) + bytes(64)


def _tiff_of(width, height, next_at=0, compression=1):
    return _tiff([(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression),
                  (262, 3, 1, 1),
                  (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 2**31)], next_at)


def _webp(width, height):
    size = struct.pack('<I', width - 1)[:3] + struct.pack('<I', height - 1)[:3]
    body = b'VP8X' + struct.pack('<I', 10) + bytes(4) + size
    rest = encoded('WEBP')[12:]
    return b'RIFF' + struct.pack('<I', 4 + len(body + rest)) + b'WEBP' + body + rest


def _tga(width, height):
    "A run-length file whose packets are 128 pixels each."
    return struct.pack('<BBBHHBHHHHBB', 0, 0, 10, 0, 0, 0, 0, 0, width, height, 24,
                       0) + b'\xff\x10\x20\x30' * 2**16


def _jp2(width, height):
    data = encoded('JPEG2000')
    data = data.replace(struct.pack('>II', SIDE, SIDE), struct.pack('>II', height, width))
    return data


BOMBS = {
    'bomb 13000.png': lambda: png(13000, 13000), 'bomb 60000.png': lambda: png(60000, 60000),
    'bomb rows.png': lambda: png(1, 2**31 - 1, rows=1000),
    'bomb columns.png': lambda: png(2**31 - 1, 1, rows=0),
    'zero.png': lambda: png(0, 0), 'flat.png': lambda: png(32, 0, rows=0),
    'text bomb.png': lambda: png(32, 32, [(b'zTXt', b'a\0\0' + _packed(2**29))]),
    'text bombs.png': lambda: png(32, 32, [(b'zTXt', b'a\0\0' + _packed(2**20 - 1))] * 2000),
    'international bomb.png': lambda: png(32, 32, [(b'iTXt', b'a\0\x01\0\0\0' + _packed(2**29))]),
    'profile bomb.png': lambda: png(32, 32, [(b'iCCP', b'a\0\0' + _packed(2**29))]),
    'many chunks.png': lambda: png(32, 32, [(b'tEXt', b'a\0b')] * 300_000),
    'animation.png': lambda: png(32, 32, [(b'acTL', struct.pack('>II', 2**31 - 1, 0))]),
    'wrong filter.png': lambda: png(32, 32, row=b'\x09'), 'missing rows.png': lambda: png(32, 32, rows=3),
    'more rows.png': lambda: png(32, 32, rows=2**24),
    'huge.bmp': lambda: _bmp(2**31 - 1, 2**31 - 1), 'wide.bmp': lambda: _bmp(2**20, 1),
    'upside.bmp': lambda: _bmp(32, -2**31),
    'negative.bmp': lambda: _bmp(-32, 32), 'none.bmp': lambda: _bmp(0, 0),
    'big.bmp': lambda: _bmp(20000, 20000),
    'huge.jpg': lambda: _jpeg(65535, 65535), 'none.jpg': lambda: _jpeg(0, 0),
    'big.jpg': lambda: _jpeg(20000, 20000),
    'many comments.jpg': lambda: b'\xff\xd8' + b'\xff\xfe\0\x02' * 2**20 + encoded('JPEG')[2:],
    'huge.gif': lambda: _gif(65535, 65535), 'frames.gif': lambda: _gif(32, 32, 200_000),
    'none.gif': lambda: _gif(0, 0),
    'huge.tif': lambda: _tiff_of(2**31 - 1, 2**31 - 1), 'round.tif': lambda: _tiff_of(32, 32, next_at=8),
    'deflated.tif': lambda: _tiff_of(60000, 60000, compression=8), 'no entries.tif': lambda: _tiff([]),
    'many entries.tif': lambda: _tiff([(256, 4, 2**31, 8)] * 60_000),
    'huge.webp': lambda: _webp(16383, 16383), 'larger.webp': lambda: _webp(2**24, 2**24),
    'huge.ppm': lambda: b'P6 4000000000 4000000000 255\n' + bytes(99),
    'digits.ppm': lambda: b'P6 ' + b'9' * 2**20,
    'comment.ppm': lambda: b'P6 #' + b' ' * 2**24,
    'plain.ppm': lambda: b'P3 20000 20000 255\n' + b'1 ' * 2**20,
    'depth.ppm': lambda: b'P6 32 32 0\n' + bytes(4096), 'deep.ppm': lambda: b'P6 32 32 65535\n' + bytes(8192),
    'huge.tga': lambda: _tga(65535, 65535), 'packets.tga': lambda: _tga(4096, 2048),
    'huge.jp2': lambda: _jp2(2**31 - 1, 2**31 - 1), 'big.jp2': lambda: _jp2(20000, 20000)}

POSTSCRIPT = b'''%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 32 32
%%EndComments
(%pipe%touch executed) (w) file closefile
showpage
%%EOF
'''
TEXTS = {
    'empty.png': b'', 'one byte.png': b'\x89', 'signature.png': b'\x89PNG\r\n\x1a\n',
    'text.png': b'hello\n' * 99,
    'zeros.png': bytes(4096), 'page.png': b'<!doctype html><title>404</title>',
    'drawing.png': b'<svg xmlns="x"/>',
    'entities.svg': b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><svg>&b;</svg>',
    'postscript.png': POSTSCRIPT, 'postscript.jpg': POSTSCRIPT, 'postscript.eps': POSTSCRIPT,
    'dos postscript.png': b'\xc5\xd0\xd3\xc6' + struct.pack('<IIIIII', 32, len(POSTSCRIPT), 0, 0, 0,
                                                            0) + POSTSCRIPT,
    'portable document.png': b'%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>',
    'metafile.png': b'\xd7\xcd\xc6\x9a' + bytes(60),
    'enhanced.png': b'\x01\0\0\0' + bytes(36) + b' EMF' + bytes(99),
    'fits.png': b'SIMPLE  =                    T'.ljust(2880), 'hdf5.png': b'\x89HDF\r\n\x1a\n' + bytes(99),
    'grib.png': b'GRIB\0\0\0\x01' + bytes(99), 'bufr.png': b'BUFR' + bytes(99),
    'film.png': b'\0\0\x01\xb3' + bytes(99),
    'program.png': b'\x7fELF' + bytes(99), 'pickle.png': b"cos\nsystem\n(S'touch executed'\ntR.",
    'zip.png': b'PK\x03\x04' * 9,
    'pixmap.png': b'/* XPM */\nstatic char *a[] = {\n"32 32 1 1",\n"a c #000000",\n',
    'script.png': b'#!/bin/sh\ntouch executed\n',
    'photoshop.png': b'8BPS\0\x01' + bytes(6) + struct.pack('>HIIHH', 3, 2**30, 2**30, 8, 3) + bytes(99)}


def _node(kind, major, minor):
    return lambda path: os.mknod(path, kind | 0o600, os.makedev(major, minor))


def _link(target):
    return lambda path: path.symlink_to(target)


def _socket(path):
    with socket.socket(socket.AF_UNIX) as one: one.bind(os.path.relpath(path))


def _sparse(path):
    with path.open('wb') as file: file.truncate(2**36)


def _long_sparse(path):
    path.write_bytes(encoded('PNG'))
    os.truncate(path, 2**36)


def _locked(path):
    path.write_bytes(encoded('PNG'))
    path.chmod(0)


NO_FILES = {
    'pipe.png': os.mkfifo, 'zero device.png': _node(0o020000, 1, 5),
    'random device.png': _node(0o020000, 1, 9),
    'block device.png': _node(0o060000, 7, 99), 'link to zero.png': _link('/dev/zero'),
    'link to random.png': _link('/dev/urandom'),
    'link to terminal.png': _link('/dev/tty'), 'link to input.png': _link('/dev/stdin'),
    'folder.png': Path.mkdir,
    'dangling.png': _link('nowhere'), 'circle.png': _link('circle.png'),
    'link to passwords.png': _link('/etc/passwd'),
    'link to memory.png': _link('/proc/self/mem'), 'link to kernel log.png': _link('/proc/kmsg'),
    'socket.png': _socket, 'sparse.png': _sparse, 'long tail.png': _long_sparse, 'locked.png': _locked}


def all_files() -> dict[str, Callable]:
    "Name to what writes the file."
    texts = {name: _writer(data) for name, data in TEXTS.items()}
    bombs = {name: _writer(data) for name, data in BOMBS.items()}
    return formats() | modes() | cut() | fuzzed() | bombs | texts | NO_FILES


FILES = all_files()
