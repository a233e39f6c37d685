"""API keys: where they come from, and that they go nowhere else."""

from __future__ import annotations

import json
import os
import re
from urllib.parse import quote, urlsplit

from vlfeedback._config_text import NO_VARIABLE, is_variable
from vlfeedback.compact import read_json
from vlfeedback.errors import ConfigError, ModelUnavailable

DUMMY = "none"
"""Sent to endpoints that want no key; the SDK insists on one."""

KEY_NEEDED = frozenset({"api.openai.com"})
LONG = 16
"""Letters of a key that is a secret: providers' have thirty and more. Servers at home are given `test` or `1234`."""

BLOT = "[key]"
_ESCAPED = re.compile(r"\\/|\\u00[2-7]")
"""Other ways in which JSON may write a letter of a key."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Secret:
    """A key that prints as dots, so that no message, log or record can hold it by accident.

    Args:
        value: The key.
        origin: The variable it came from, for messages.
    """

    def __init__(self, value: str, origin: str = "") -> None:
        self._value, self.origin = value, origin

    def reveal(self) -> str:
        """The key itself, for the client's header only."""
        return self._value

    def scrub(self, text: str) -> str:
        """Blot the key out of a text of foreign origin (some endpoints echo it in their errors)."""
        if self._value == DUMMY or len(self._value) < 4:
            return text
        for form in (self._value, quote(self._value, safe="")):
            if len(self._value) >= LONG:
                text = text.replace(form, BLOT)
            elif form in text:  # `test` or `1234` may be part of a word or of a number that is none of ours
                text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", BLOT, text)
        return text

    def scrub_body(self, raw: str) -> str:
        """The same of a body in JSON, which stays JSON: a short key is no secret and is left where it stands."""
        if len(self._value) < LONG:
            return raw
        found = self.scrub(raw)
        if _ESCAPED.search(found) is None:
            return found
        try:
            plain = json.dumps(read_json(found), ensure_ascii=False)
        except ValueError:
            return found
        blotted = self.scrub(plain)
        return found if blotted == plain else blotted

    def __repr__(self) -> str:
        return "Secret(…)"


def host_of(base_url: str) -> str:
    """Host name of an endpoint, lower case.

    Raises:
        ConfigError: it is no http(s) address, or carries a user name or password.
    """
    try:
        parts = urlsplit(base_url)
        name = (parts.hostname or "").encode("idna")
    except ValueError:  # brackets that do not close, a part of the name that is empty or too long
        shown = base_url.rpartition("@")[2]  # a password may stand before it
        raise ConfigError(f"base_url {shown!r} is no address; write e.g. http://gpu1:8000/v1") from None
    if parts.scheme not in ("http", "https") or not name:
        raise ConfigError(
            f"base_url {parts.netloc or base_url!r} is no http:// or https:// address; write e.g. http://gpu1:8000/v1"
        )
    if parts.username is not None or parts.password is not None or parts.query:
        raise ConfigError(
            f"base_url of {parts.hostname} carries credentials or a query; put the key in a variable (api_key_env)"
        )
    return str(parts.hostname).lower()


def find_key(variable: str, hosts: list[str]) -> Secret:
    """The key from the environment, or a dummy for endpoints that need none.

    Raises:
        ConfigError: what is named is no variable, or what the variable holds is no key.
        ModelUnavailable: the variable is unset and one of the hosts certainly wants a key.
    """
    if variable and not is_variable(variable):
        raise ConfigError(NO_VARIABLE)
    value = os.environ.get(variable, "").strip() if variable else ""
    if not all("!" <= letter <= "~" for letter in value):
        raise ConfigError(f"the environment variable {variable} holds no API key: it has blanks, line ends or accents")
    if value:
        return Secret(value, variable)
    needing = [host for host in hosts if host in KEY_NEEDED]
    if needing:
        raise ModelUnavailable(
            f"{needing[0]} wants an API key and the environment variable {variable or '(none named)'} is not set; "
            f"export {variable or 'OPENAI_API_KEY'}=… or name another variable with api_key_env"
        )
    return Secret(DUMMY, f"{variable or '(none named)'}, which is not set")
