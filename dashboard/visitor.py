"""Who looks at a page: named by a proxy's header, by Streamlit's login, or by nobody. What is nobody's is not drawn.

Where a header or a login is what names people, a request without a name came past the proxy or before the login: it
reads nothing, and writes nothing (dashboard/incidents/door.py signs with the same name).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import streamlit as st
from streamlit.errors import StreamlitAuthError

from collector.config import Config
from collector.errors import ForeshockError
from dashboard import notices

_LONGEST_NAME: Final = 100
_WANTED: Final = "foreshock.wanted"
# The provider sends people back to the fleet's page; the tab remembers which page they came for.
_KEEP: Final = f"""<script>
sessionStorage.setItem("{_WANTED}", location.pathname + location.search);
</script>"""
# With the origin before it, a path of two slashes is no other host.
_GO_ON: Final = f"""<script>
const wanted = sessionStorage.getItem("{_WANTED}");
sessionStorage.removeItem("{_WANTED}");
if (wanted && wanted !== location.pathname + location.search) location.replace(location.origin + wanted);
</script>"""


@dataclass(frozen=True, slots=True)
class Signer:
    """Who it is. `name` None: nobody has said so yet. `asked`: the page asks, and nobody checks the answer."""

    name: str | None
    asked: bool = False


def signer(config: Config, user: Mapping[str, Any], headers: Mapping[str, str]) -> Signer:
    """By the proxy's header where one is configured, else by the login where one is, else by asking."""
    if config.dashboard.user_header:
        return Signer(printable(headers.get(config.dashboard.user_header)))
    if "is_logged_in" in user:
        known = user["is_logged_in"] is True
        said = next(
            (user[key] for key in ("email", "preferred_username", "name", "sub") if user.get(key)), None
        )
        return Signer(printable(said) if known else None)
    return Signer(None, asked=True)


def printable(said: object) -> str | None:
    """A printable name of one line; None for anything else."""
    if not isinstance(said, str):
        return None
    name = said.strip()
    return name if name and name.isprintable() and len(name) <= _LONGEST_NAME else None


def of(config: Config) -> Signer:
    """Who looks at the page that is being drawn."""
    return signer(config, st.user.to_dict(), st.context.headers)


def may_read(who: Signer) -> bool:
    """Whether a page may be drawn for them."""
    return who.asked or who.name is not None


def refuse(config: Config) -> None:
    """In place of a page: why there is none, or the login."""
    st.title("Foreshock", anchor=False)
    if config.dashboard.user_header:
        _past_the_proxy(config.dashboard.user_header)
    elif st.user.to_dict().get("is_logged_in"):
        st.error("The login gave no name: neither an email nor a subject.", icon=":material/error:")
        st.caption("Try: let the identity provider send the scopes openid, email and profile.")
    else:
        _login()


def goodbye(config: Config, who: Signer) -> None:
    """Below a page: who is logged in, and the way out; before that, on to the link that led to the login.

    Nothing where the proxy logs people in, or nobody does.
    """
    if config.dashboard.user_header or who.name is None:
        return
    st.html(_GO_ON, unsafe_allow_javascript=True)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"Logged in as `{who.name}`", width="content")
        if st.button("Log out", type="tertiary", icon=":material/logout:"):
            st.logout()


def _past_the_proxy(header: str) -> None:
    st.error(
        f"The proxy did not say who you are (header `{header}`), so there is nothing to see here.",
        icon=":material/lock:",
    )
    st.caption("Try: open the address of the proxy; docs/dashboard.md says what it has to send.")


def _login() -> None:
    st.markdown("Log in to see the fleet. The link that you followed opens once you are in.")
    st.html(_KEEP, unsafe_allow_javascript=True)
    with st.container(horizontal=True):
        for provider in providers(st.secrets["auth"]):
            label = "Log in" if provider is None else f"Log in with {provider}"
            if st.button(label, type="primary", icon=":material/login:", key=f"login-{provider}"):
                _go(provider)


def providers(auth: Mapping[str, Any]) -> list[str | None]:
    """The identity providers of secrets.toml by name; None is the one without."""
    named = [name for name, told in auth.items() if isinstance(told, Mapping) and "client_id" in told]
    return [*named] if named and "client_id" not in auth else [None, *named]


def _go(provider: str | None) -> None:
    try:
        st.login(provider)
    except StreamlitAuthError as e:  # also where Authlib is missing
        notices.say(
            ForeshockError(
                f"the login cannot be used: {str(e).splitlines()[0]}",
                hint="pip install 'foreshock[dashboard]'; docs/dashboard.md shows a whole [auth]",
            )
        )
