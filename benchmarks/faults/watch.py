"""What a process does beside computing, by Python's audit events: programs, pickles, sockets, files.

`watch` installs one hook for the rest of a process; while it listens it keeps every event that starts a
program, looks up a name of a pickle, touches a socket that is not loopback, loads a shared library, or opens
or changes a file outside the folders that are admitted. The rule for what is admitted outside: reading, never
writing, below Python's own folders (`sys.prefix`, `sys.base_prefix`, the standard library, the checkout) and
the files in `SYSTEM_FILES`. Everything is called once, unheard, before, so that what is imported lazily is
there. The hook sees what goes through Python: what a C library opens by itself does not, see `trace` in
`audit`.
"""
import os
import sys
import threading
from pathlib import Path

from faults.aim import EVENTS

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PROGRAMS = ('subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn', 'os.spawn', 'os.startfile',
            'pty.spawn',
            'os.fork', 'os.forkpty')
SOCKETS = ('socket.connect', 'socket.bind', 'socket.sendto', 'socket.getaddrinfo', 'socket.gethostbyname',
           'urllib.Request', 'ftplib.connect', 'http.client.connect', 'smtplib.connect')
SYSTEM_FILES = ('/dev/null', '/proc/self/', '/proc/meminfo', '/proc/cpuinfo', '/proc/stat', '/etc/localtime',
                '/sys/fs/cgroup/',
                '/usr/share/zoneinfo/')
LOOPBACK = ('127.', 'localhost', '::1')


def _kind(event, arguments):
    "The kind of an event, or None where it concerns nobody."
    if event in PROGRAMS: return 'program'
    if event == 'pickle.find_class': return 'pickle'
    if event == 'ctypes.dlopen': return 'library'
    if event in SOCKETS: return None if any(word in repr(arguments) for word in LOOPBACK) else 'socket'
    return 'file' if event in EVENTS else None


class Watch:
    "The events of this process while it listens."
    def __init__(self, admitted: list, names: tuple = ()):
        self.admitted = [os.path.realpath(folder) for folder in admitted]  # where everything is allowed
        own = {sys.prefix, sys.base_prefix, os.path.dirname(os.__file__), str(Path(__file__).parents[2])}
        self.readable = [os.path.realpath(folder) for folder in own]
        self.names = names  # that a pickle may ask for, as 'module.name'
        self.listening = False
        self.events = []
        self.inside = threading.local()
        sys.addaudithook(self)

    def __call__(self, event, arguments):
        if not self.listening or getattr(self.inside, 'now', False): return
        self.inside.now = True
        try:
            kind = _kind(event, arguments)
            if kind == 'file': kind = self._outside(event, arguments)
            if kind == 'pickle' and '.'.join(map(str, arguments)) in self.names: kind = None
            if kind: self.events.append((kind, f'{event} {arguments!r}'[:300]))
        finally: self.inside.now = False

    def _outside(self, event, arguments):
        "'file read' or 'file changed' for a path outside of what is admitted."
        is_read = event == 'open' and not arguments[2] & WRITES
        paths = [path for path in arguments[:2] if isinstance(path, (str, bytes, os.PathLike))]
        if event == 'open': paths = [path for path in paths[:1] if not isinstance(arguments[0], int)]
        for path in paths:
            if not self._is_admitted(os.fsdecode(path), is_read):
                return 'file read' if is_read else 'file changed'

    def _is_admitted(self, path, is_read):
        if is_read and path.startswith(SYSTEM_FILES): return True
        real = os.path.realpath(path)
        folders = self.admitted + (self.readable if is_read else [])
        return any(real == folder or real.startswith(folder + os.sep)
                   for folder in folders) or real == '/dev/null'

    def __enter__(self):
        self.events.clear()
        self.listening = True
        return self

    def __exit__(self, *error): self.listening = False
