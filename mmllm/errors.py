"""Every error a person can meet, in one tree.

    MmllmError
    ├── CatalogError        a catalog line, field or file that cannot be used
    ├── MediaError          a picture or a sound that cannot be decoded safely
    │   └── MediaTooLongError   a sound that lasts longer than the limit
    ├── WeightsError        frozen weights that cannot be had or do not match their checksum
    ├── AdapterError        a trained adapter that does not fit the backbones
    ├── IndexStateError     an index that is missing, damaged, locked or of another fingerprint
    ├── QueryError          a request that names an unknown item, attribute or value
    ├── ProfileError        a visitor that is not known, or a file of profiles that cannot be read
    ├── PromptError         a prompt template that is malformed or was given the wrong variables
    └── MissingExtraError   an optional dependency that is not installed

Each says what came, what was expected and what to do; the command line prints it as one line and exits with 1.
"""

from __future__ import annotations


class MmllmError(Exception):
    """Base of all errors raised on purpose.

    >>> str(MmllmError("k is 0", expected="a whole number from 1", do="pass -k 5"))
    'k is 0; expected a whole number from 1; pass -k 5'
    """

    def __init__(self, came: str, *, expected: str = "", do: str = "") -> None:
        self.came, self.expected, self.do = came, expected, do
        parts = [came]
        if expected:
            parts.append(f"expected {expected}")
        if do:
            parts.append(do)
        super().__init__("; ".join(parts))


class CatalogError(MmllmError):
    """A catalog line, field or file that cannot be used."""


class MediaError(MmllmError):
    """A picture or a sound that cannot be decoded safely."""


class MediaTooLongError(MediaError):
    """A sound that lasts longer than `settings.MAX_AUDIO_SECONDS`."""


class WeightsError(MmllmError):
    """Frozen weights that cannot be had, or that do not match their checksum."""


class AdapterError(MmllmError):
    """A trained adapter that does not fit the backbones it is loaded over."""


class IndexStateError(MmllmError):
    """An index that is missing, damaged, locked, or built with other encoders."""


class QueryError(MmllmError):
    """A request that names an unknown item, attribute or value."""


class ProfileError(MmllmError):
    """A visitor that is not known, or a file of profiles that cannot be read."""


class PromptError(MmllmError):
    """A prompt template that is malformed, or that was given the wrong variables."""


class MissingExtraError(MmllmError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the package {package!r} is not installed",
            do=f"pip install 'mmllm[{extra}]', or in a checkout .venv/bin/pip install -e '.[{extra}]'",
        )
