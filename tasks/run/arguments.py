"""The parser of every command line: names the option that was meant."""

import argparse
import difflib
from typing import NoReturn

_UNKNOWN = "unrecognized arguments: "


class ArgumentParser(argparse.ArgumentParser):
    """Like argparse's, with the nearest option for one that is mistyped."""

    def error(self, message: str) -> NoReturn:
        if message.startswith(_UNKNOWN):
            shown = [
                name
                for action in self._actions
                if action.help != argparse.SUPPRESS
                for name in action.option_strings
                if name.startswith("--")
            ]
            for given in message.removeprefix(_UNKNOWN).split():
                near = difflib.get_close_matches(given.partition("=")[0], shown, n=1) if given.startswith("--") else []
                if near:
                    message += f"; did you mean {near[0]}?"
                    break
        super().error(message)
