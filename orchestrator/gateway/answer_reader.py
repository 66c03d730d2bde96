"""Reads the answer of a model's server from the bytes of its connection. No I/O.

Bodies are not decoded: of chunks their contents come, of a compressed one what was compressed.
"""

import httptools

HEAD_BYTES_MAX = 64 << 10
_SWITCHED = 101


class NotHttp(Exception):
    """What a server says cannot be read, or ended before its time."""


class AnswerReader:
    """One answer. Its head is there once `begun`; pieces of its body until it is `complete`.

    `bodiless`: it answers HEAD, and what it says of a body is of another answer's.
    """

    __slots__ = (
        "_bodiless",
        "_bounded",
        "_fed",
        "_parser",
        "begun",
        "complete",
        "headers",
        "pieces",
        "reusable",
        "status",
        "waiting_bytes",
    )

    def __init__(self, *, bodiless: bool = False) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.begun = False
        self.complete = False
        self.reusable = False  # the connection can carry another question
        self.pieces: list[bytes] = []
        self.waiting_bytes = 0  # in the pieces that were not taken
        self._bodiless = bodiless
        self._bounded = False  # its head says where the body ends
        self._fed = 0  # bytes before its head was whole
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Raise NotHttp. What was read before stays."""
        if self.complete:
            self.reusable &= not data  # nobody asked for more
            return
        if not self.begun:
            self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.reusable = False
        except httptools.HttpParserError as error:
            self.reusable = False
            if not self.complete:
                raise NotHttp(str(error)) from error
        if not self.begun and self._fed > HEAD_BYTES_MAX:
            raise NotHttp(f"its head is larger than {HEAD_BYTES_MAX} bytes")

    def feed_end(self) -> None:
        """The server has hung up. Raise NotHttp where that is not the end of an answer."""
        self.reusable = False
        if self.complete:
            return
        if not self.begun or self._bounded:
            raise NotHttp("the server hung up")
        self.complete = True

    def take(self) -> bytes:
        """What has come of the body since it was last taken."""
        pieces = self.pieces
        taken = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.waiting_bytes = 0
        return taken

    def put_back(self, piece: bytes) -> None:
        """What was taken is still to be taken."""
        self.pieces.insert(0, piece)
        self.waiting_bytes += len(piece)

    # --- what the parser tells -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.complete:
            self.reusable = False
        else:
            self.headers = []
            self._bounded = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        name = name.lower()
        if name == b"content-length" or (
            name == b"transfer-encoding" and value.rstrip().lower().endswith(b"chunked")
        ):
            self._bounded = True
        if not self.begun:  # else it stands behind the last chunk
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        status = self._parser.get_status_code()
        if status < 200 and status != _SWITCHED:  # the answer itself follows
            return
        self.status = status
        self.begun = True
        if self._bodiless:
            self.complete = True  # the parser waits for a body: no more is read here

    def on_body(self, body: bytes) -> None:
        if not self.complete:
            self.pieces.append(body)
            self.waiting_bytes += len(body)

    def on_message_complete(self) -> None:
        if self.begun and not self.complete:
            self.complete = True
            self.reusable = self._parser.should_keep_alive()
