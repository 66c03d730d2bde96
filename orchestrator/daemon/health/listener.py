"""A thread that answers for the daemon's health, whatever the daemon's event loop does.

It shares nothing with the loop but what `VitalSigns` holds, and needs nothing that can run out: it
holds `SPARE` descriptors from its start, gives one up where a caller comes and none is left, and
has it back with the caller's end in one call of the kernel, so that nobody else gets it.

A caller has `REQUEST_S` for its request, and `HEAD_BYTES_MAX`. Of `CALLERS_MAX` the one that has
been here longest makes room for the next, so that silent ones keep nobody out: who asks as it
connects is answered, unless as many others connect before its request has arrived.

What it cannot see through: code that keeps the interpreter's lock keeps this thread still too.
"""

import errno
import logging
import os
import select
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from orchestrator.daemon.health.answers import HEAD_BYTES_MAX, TOO_SLOW, refused
from orchestrator.daemon.health.vital_signs import LOOK_S

REQUEST_S = 5.0  # from the connection to the end of the headers
LINGER_S = 0.5  # an answered caller has read by then; hung up on at once, it might not
CALLERS_MAX = 16
ACCEPTS_MAX = 64  # in one turn: then callers are heard, whoever else comes
SPARE = 4
PAUSE_S = 0.05  # where not even a spare descriptor helps
END_S = 1.0  # a turn takes less
NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = logging.getLogger("orchestrator")


@dataclass(slots=True)
class _Caller:
    line: socket.socket
    ends_s: float
    head: bytearray = field(default_factory=bytearray)
    answered: bool = False


class HealthListener:
    """Serves from `start` to `end`, both of them called once."""

    def __init__(
        self,
        listener: socket.socket,
        answer: Callable[[bytes], bytes | None],
        look: Callable[[], None],
    ) -> None:
        """`answer` is given what has come, and says None while that is no whole request; `look` is
        called with every turn. The listener is closed at the end.
        """
        self._listener = listener
        self._listener.setblocking(False)
        self._answer = answer
        self._look = look
        self._callers: dict[int, _Caller] = {}
        self._ended = False
        self._wakes, self._woken = socket.socketpair()
        self._placeholder = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._spare: list[int] = []
        self._comes = select.poll()
        self._comes.register(self._listener, select.POLLIN)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="health", daemon=True)

    def start(self) -> None:
        self._fill_up()
        self._thread.start()

    def end(self) -> None:
        """Within END_S, whoever is being served."""
        self._ended = True
        with suppress(OSError):  # it has ended by itself
            self._wakes.send(b"\0")
        self._thread.join(END_S)

    def _serve(self) -> None:
        try:
            while not self._ended:
                self._turn()
        except Exception:
            # Callers are refused from now on, which tells a poller as much as an error would.
            log.exception("health is not told any more")
        finally:
            self._close()

    def _turn(self) -> None:
        now_s = time.monotonic()
        due_s = min((caller.ends_s for caller in self._callers.values()), default=now_s + LOOK_S)
        ready = self._selector.select(min(max(due_s - now_s, 0), LOOK_S))
        self._look()
        comes = False
        for key, _ in ready:
            if key.fileobj is self._listener:
                comes = True
            elif (caller := self._callers.get(key.fd)) is not None:
                self._hear(caller)
        if comes:
            self._take_in()
        self._hang_up()
        self._fill_up()

    # --- callers ---------------------------------------------------------------------------------

    def _take_in(self) -> None:
        for _ in range(ACCEPTS_MAX):
            if (line := self._accepted()) is None:
                return
            line.setblocking(False)
            if len(self._callers) >= CALLERS_MAX:
                self._let_go(self._longest_here())
            caller = _Caller(line, time.monotonic() + REQUEST_S)
            self._callers[line.fileno()] = caller
            self._selector.register(line, selectors.EVENT_READ)
            self._hear(caller)

    def _accepted(self) -> socket.socket | None:
        """None: nobody waits, or there is no descriptor for it, which it then waits for."""
        for _ in range(SPARE + 1):
            try:
                return self._listener.accept()[0]
            except OSError as error:
                # The kernel looks for a descriptor first, and for a caller then.
                if error.errno not in NONE_LEFT or not self._comes.poll(0):
                    return None
            if not self._spare and self._callers:
                self._let_go(self._longest_here())
            if not self._spare:
                break
            os.close(self._spare.pop())
        time.sleep(PAUSE_S)
        return None

    def _longest_here(self) -> _Caller:
        """Of those that have their answer, if there are any."""
        callers = self._callers.values()
        return next((each for each in callers if each.answered), next(iter(callers)))

    def _hear(self, caller: _Caller) -> None:
        try:
            room = HEAD_BYTES_MAX + 1 if caller.answered else HEAD_BYTES_MAX + 1 - len(caller.head)
            data = caller.line.recv(room)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._let_go(caller)
        elif not caller.answered:
            caller.head += data
            if (answer := self._answer(bytes(caller.head))) is not None:
                self._tell(caller, answer)

    def _tell(self, caller: _Caller, answer: bytes) -> None:
        """What is sent on a new connection has room in the kernel; who has none left is let go."""
        try:
            sent = caller.line.send(answer)
            caller.line.shutdown(socket.SHUT_WR)
        except OSError:
            sent = 0
        if sent < len(answer):
            self._let_go(caller)
            return
        caller.answered, caller.ends_s = True, time.monotonic() + LINGER_S

    def _hang_up(self) -> None:
        now_s = time.monotonic()
        for caller in [each for each in self._callers.values() if each.ends_s <= now_s]:
            if caller.head and not caller.answered:
                with suppress(OSError):
                    caller.line.send(refused(TOO_SLOW))
            self._let_go(caller)

    # --- descriptors -----------------------------------------------------------------------------

    def _let_go(self, caller: _Caller) -> None:
        self._selector.unregister(caller.line)
        descriptor = caller.line.detach()
        del self._callers[descriptor]
        if len(self._spare) < SPARE:
            with suppress(OSError):  # the limit was lowered below its number
                os.dup2(self._placeholder, descriptor, inheritable=False)  # closes it, and keeps it
                self._spare.append(descriptor)
                return
        os.close(descriptor)

    def _fill_up(self) -> None:
        """At the start; and where somebody was quicker than a caller that one was given up for."""
        with suppress(OSError):
            while len(self._spare) + len(self._callers) < SPARE:
                self._spare.append(os.dup(self._placeholder))

    def _close(self) -> None:
        for caller in list(self._callers.values()):
            self._let_go(caller)
        self._selector.close()
        self._listener.close()
        self._wakes.close()
        self._woken.close()
        for descriptor in (*self._spare, self._placeholder):
            os.close(descriptor)
