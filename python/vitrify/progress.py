"""One line on the terminal that says how far long work is, rewritten in place; nothing in a pipe. The form of include/vitrify/Support/Progress.h."""
import os
import re
import shutil
import sys
import threading
import time

PAUSE = 0.1  # seconds between two lines of the same work
FRAME = re.compile(rb"\r[^\r\n\x1b]*\x1b\[K")
_live = []   # lines that this process shows; what a tool says is passed on while there is none


def wanted():
    """Whether there is a terminal that shows progress."""
    return sys.stderr is not None and sys.stderr.isatty()


class Progress:
    """`vitrify: images 12 of 200, 3.1 s` while a with block runs; update() may be called as often as one likes."""

    def __init__(self, what, total=0):
        self.what, self.total, self._begin, self._last, self._shown = what, total, time.monotonic(), -PAUSE, None

    def __enter__(self):
        if wanted():
            _live.append(self)
            self.update(0)
        return self

    def __exit__(self, *_):
        self.clear()
        if self in _live:
            _live.remove(self)

    def clear(self):
        """Takes the line away before something else is written; the next update shows it again."""
        if self in _live and self._shown:
            self._shown = None
            write(b"\r\x1b[K")

    def update(self, done, what=None):
        now = time.monotonic()
        self.what = what or self.what
        if not _live or _live[-1] is not self or (self.what == self._shown and done != self.total and now - self._last < PAUSE):
            return
        self._last, self._shown = now, self.what
        line = f"vitrify: {self.what}{f' {done} of {self.total}' if self.total else ''}, {now - self._begin:.1f} s"
        width = shutil.get_terminal_size((0, 0)).columns
        write(f"\r{line[:width - 1] if width else line}\x1b[K".encode())


def write(frame):
    """To the terminal, past what Python still holds of its own."""
    sys.stderr.flush()
    os.write(sys.stderr.fileno(), frame)


class Passed:
    """What a tool writes to standard error: lines of progress go to the terminal at once, the rest is kept as `text`."""

    def __init__(self, pipe):
        self._pipe, self._rest = pipe, bytearray()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        while piece := os.read(self._pipe.fileno(), 1 << 16):
            self._rest += piece
            for frame in FRAME.findall(self._rest):
                if not _live:
                    write(frame)
            self._rest = bytearray(FRAME.sub(b"", self._rest))

    def text(self):
        """All of the rest, once the tool has closed its standard error."""
        self._thread.join()
        self._pipe.close()
        return self._rest.decode(errors="replace")
