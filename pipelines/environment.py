"""Text with ${NAME} -> text with the variable's value, and messages without any such value.

A recipe never holds a password; it names the variable that does. What was filled in is remembered, so that whatever is
printed or stored afterwards can be cleaned of it.
"""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlsplit

from tsforecast.errors import RecipeError

VARIABLE = re.compile(r"\$\{(\w+)\}")
SECRET_KEYS = ("password", "passwd", "pwd", "token", "secret")


class Environment:
    """The variables of this machine, read once at start-up."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = dict(variables)
        self._filled: dict[str, str] = {}  # value -> the ${NAME} it stands for

    def get(self, name: str) -> str | None:
        """The value of the variable; None where it is not set, or empty."""
        return self._variables.get(name) or None

    def fill(self, text: str, *, field: str) -> str:
        """`text` with each ${NAME} replaced; between `://` and `@` the value is percent-encoded, as a URL needs it.

        Raises:
            RecipeError: a variable is not set.
        """
        login = re.search(r"://[^/]*@", text)

        def value_of(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in self._variables:
                raise RecipeError(
                    f"{field} needs the environment variable {name}, which is not set; export {name}=…", field=field
                )
            value = self._variables[name]
            encoded = quote(value, safe="")
            self._filled |= {value: match.group(), encoded: match.group()} if value else {}
            password = secret_in(value)  # a whole URL in one variable: its password alone must not show either
            self._filled |= {password: match.group()} if password else {}
            return encoded if login and login.start() < match.start() < login.end() else value

        return VARIABLE.sub(value_of, text)

    def hide(self, text: str) -> str:
        """`text` with every value that was filled in replaced by its ${NAME}, longest first."""
        for value in sorted(self._filled, key=len, reverse=True):
            text = text.replace(value, self._filled[value])
        return text


def secret_in(url: str) -> str | None:
    """The password written out in `url`, percent-encoded as it stands there; None = there is none."""
    login = re.search(r"://[^/@]*?:([^/]*)@", url)
    if login and login.group(1) and not VARIABLE.fullmatch(login.group(1)):
        return login.group(1)
    query = urlsplit(url).query if "://" in url else ""
    return next(
        (value for key, value in parse_qsl(query) if key.lower() in SECRET_KEYS and value and not VARIABLE.fullmatch(value)), None
    )
