"""Repositories on the Hugging Face Hub, and what goes wrong there in one sentence. Does not import torch.

The token is that of the Hub's client (`hf auth login`, or HF_TOKEN); it is read here only to keep it out of messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hello_distill.system.errors import HelloError, InputError, MachineError, one_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MARK = "hf://"
"""How a text begins that names a repository and nothing else."""
FORM = re.compile(r"(?:hf://)?(\w[\w.-]*/\w[\w.-]*)(?:@(\w[\w./-]*))?")
COMMIT = re.compile(r"[0-9a-f]{40}")
"""A revision that never means anything else."""
Kind = Literal["dataset", "model"]
WORDS: dict[Kind, str] = {"dataset": "data set", "model": "model"}
TIMEOUT = 10.0
"""Seconds that the Hub may take to say what a repository is."""
LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
NETWORK = ("huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "hf_xet")
"""Packages whose errors say that the network failed; which of them the client uses depends on its version."""


class Repository(NamedTuple):
    """A repository and, unless it is the newest state that counts, a branch, tag or commit of it."""

    name: str
    """`owner/name`."""
    revision: str | None = None

    @classmethod
    def of(cls, text: str, revision: str | None = None) -> Repository:
        """What `owner/name[@revision]` names, with or without `hf://`.

        Raises InputError for another text, and where it names another revision than the argument does.
        """
        if (match := FORM.fullmatch(text)) is None:
            raise InputError(
                f"{text!r} names no repository on the Hub; write it as owner/name or hf://owner/name@revision"
            )
        name, behind = match.groups()
        if behind and revision and behind != revision:
            raise InputError(f"{text} and --revision {revision} name two revisions; leave one out")
        return cls(name, behind or revision)

    def __str__(self) -> str:
        return MARK + self.name + (f"@{self.revision}" if self.revision else "")

    def address(self, kind: Kind) -> str:
        """Its page."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{self.name}"


def check_name(name: str) -> None:
    """Raise InputError for an `owner/name` that the Hub gives to nobody."""
    from huggingface_hub import errors, utils

    try:
        utils.validate_repo_id(name)  # type: ignore[attr-defined]
    except errors.HFValidationError as error:
        raise InputError(f"{name} is no name on the Hub: {one_line(error)}") from None


def client() -> HfApi:
    """The Hub's client, without bars and remarks of its own."""
    from huggingface_hub import HfApi, utils

    utils.disable_progress_bars()  # type: ignore[attr-defined]
    utils.logging.set_verbosity_error()
    return HfApi()


@contextmanager
def answered(named: Repository, kind: Kind) -> Iterator[None]:
    """Ask the Hub about a repository; whatever it refuses becomes an InputError or a MachineError.

    Neither a token nor an address with a signature in it is ever part of one.
    """
    try:
        yield
    except HelloError:
        raise
    except Exception as error:
        told = _told(error, named, kind)
        if told is None:
            raise
        raise told from None


def _told(error: BaseException, named: Repository, kind: Kind) -> HelloError | None:
    """What an error of the client means, for people; None where it is not about the Hub."""
    import huggingface_hub.errors as hub

    links = list(_causes(error))
    if isinstance(error, json.JSONDecodeError):  # of a page in the place of an answer
        return _silent(named, "an answer that is no JSON")
    if isinstance(error, ValueError) and not isinstance(error, OSError):  # of a name, or of a card
        return InputError(f"the Hub does not take {named}: {_said(error)}")
    refusals = (link for link in links if isinstance(link, hub.HfHubHTTPError))
    if refusal := next((link for link in refusals if link.response is not None), None):
        return _refusal(refusal, named, kind)
    if any(isinstance(link, hub.OfflineModeIsEnabled) for link in links):
        return MachineError(f"{named} is on the Hub, which is not asked while HF_HUB_OFFLINE is set; unset it")
    if any(isinstance(link, hub.LocalTokenNotFoundError) for link in links):
        return no_token(named)
    if isinstance(error, OSError) and error.errno is not None:  # of this machine's disk; Xet's are RuntimeErrors
        return None
    packages = {type(link).__module__.partition(".")[0] for link in links}
    if packages & set(NETWORK) or isinstance(error, OSError | RuntimeError):
        return _silent(named, type(links[-1]).__name__)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was raised from."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _refusal(error: Any, named: Repository, kind: Kind) -> HelloError:
    """What the Hub's answer means, for people."""
    import huggingface_hub.errors as hub

    status = error.response.status_code
    if isinstance(error, hub.GatedRepoError):
        return InputError(
            f"{named} is gated: ask for access on {named.address(kind)}, then {LOGIN} of the account that has it"
        )
    if isinstance(error, hub.RevisionNotFoundError):
        return InputError(f"{MARK}{named.name} has no revision {named.revision}; look it up on {named.address(kind)}")
    if isinstance(error, hub.RepositoryNotFoundError):
        return InputError(
            f"there is no {WORDS[kind]} {named.name} on the Hub, or it is private and this token may not see it; check "
            f"the name, or {LOGIN}"
        )
    if status == 401:
        return MachineError(f"the Hub does not know the token that {named} was asked for with; {LOGIN} again")
    if status == 403:
        return InputError(
            f"this token may not do that to {named}; make one with that right at {_settings()}, or name a repository "
            "of your own"
        )
    if status == 429 or status >= 500:
        return _silent(named, f"status {status}")
    said = _said(error.server_message or error)
    return InputError(f"the Hub refuses {named} with status {status} ({said}); put that right and try again")


def no_token(named: Repository) -> MachineError:
    """The error for a machine without a token."""
    return MachineError(
        f"{named} cannot be written without a token of the Hub: make one with the right to write at {_settings()}, "
        f"then {LOGIN}"
    )


def _silent(named: Repository, how: str) -> MachineError:
    from huggingface_hub import constants

    return MachineError(
        f"{constants.ENDPOINT} does not answer when asked for {named} ({how}); check the network, and run the same "
        "command again"
    )


def _settings() -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/settings/tokens"


def _said(error: object) -> str:
    """What a library or the Hub says, on one line, without the token and addresses."""
    import huggingface_hub

    said = one_line(error)
    if token := huggingface_hub.get_token():
        said = said.replace(token, "TOKEN")
    return re.sub(r"https?://\S+", "URL", said)[:300]
