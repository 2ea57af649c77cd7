"""An interruption wherever one can come: before each single step that Python takes."""

import sys


def interrupt_everywhere(work, *within):
    """Interrupt ``work()`` before each step of the modules whose names begin with ``within``; yield what it raised.

    A step is an instruction of Python's own machine: signals come between two of them.
    """
    step = 0
    while True:
        left = step

        def follow(frame, event, _):
            nonlocal left
            if not frame.f_globals.get("__name__", "").startswith(within):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            if event == "opcode":
                left -= 1
                if left < 0:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return follow

        before = sys.gettrace()
        sys.settrace(follow)
        stopped = None
        try:
            work()
        except BaseException as error:
            stopped = error
        finally:
            sys.settrace(before)
        if stopped is None:
            return
        yield stopped
        step += 1
