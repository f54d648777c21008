# SPDX-License-Identifier: BSD-3-Clause
"""What a file should hold: the byte array the state machine compares with.

Pages are kept whole, with what a store left behind the end of file in the last
one; no entry is a page of zeroes.  Pages are never changed but replaced, so that
a copy of the dict is a copy of the file.
"""

PAGE = 4096
ZEROES = bytes(PAGE)


def splice(page, within, data):
    """`page` with `data` at `within`."""
    return page[:within] + data + page[within + len(data) :]


def pieces(offset, data):
    """Yield page number, place in the page and bytes of `data` at `offset`."""
    done = 0
    while done < len(data):
        page, within = divmod(offset + done, PAGE)
        piece = data[done : done + PAGE - within]
        yield page, within, piece
        done += len(piece)


class SparseBytes:
    """A byte array of any size, most of it zeroes."""

    def __init__(self, size, pages=()):
        self.size = size
        self.pages = dict(pages)

    def copy(self):
        return SparseBytes(self.size, self.pages)

    @property
    def nr_pages(self):
        return -(-self.size // PAGE)

    def page(self, n):
        return self.pages.get(n, ZEROES)

    def read(self, offset, length, above=()):
        """Bytes of a range; pages of the dict `above` hide those of the file."""
        if length <= 0:
            return b""
        first, last = offset // PAGE, (offset + length - 1) // PAGE
        numbers = range(first, last + 1)
        data = b"".join(
            above[n] if n in above else self.pages.get(n, ZEROES) for n in numbers
        )
        return data[offset - first * PAGE :][:length]

    def store(self, offset, data):
        """Change bytes; the size stays."""
        for page, within, piece in pieces(offset, data):
            self.pages[page] = splice(self.page(page), within, piece)

    def write(self, offset, data):
        """Change bytes; the file grows if they end behind it."""
        self.resize(max(self.size, offset + len(data)))
        self.store(offset, data)

    def zero(self, offset, length):
        """Zero a range, also behind the end; the size stays."""
        end = offset + length
        for n in [n for n in self.pages if offset < (n + 1) * PAGE and n * PAGE < end]:
            start = max(offset - n * PAGE, 0)
            stop = min(end - n * PAGE, PAGE)
            self.pages[n] = splice(self.page(n), start, bytes(stop - start))

    def resize(self, size):
        """Set the size: what was cut off, or lay behind the end, is zero."""
        end = min(size, self.size)
        if size != self.size:
            self.zero(end, (1 << 63) - end)
        self.size = size
