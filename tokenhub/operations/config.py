"""Read and write the settings file of a home. What runs keeps the settings it started with."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tomli_w

from tokenhub import settings
from tokenhub.errors import InvalidRequest
from tokenhub.operations import forms
from tokenhub.paths import Home, make_folder, write_private
from tokenhub.settings import BY_KEY, OPTIONS, InvalidSetting, Option


@dataclass(frozen=True, slots=True)
class Setting:
    """One option with its value and where that comes from: ``default``, ``file`` or ``environment``."""

    option: Option
    value: Any
    origin: str

    @property
    def shown(self) -> str:
        """The value as people may see it: a database's password is left out."""
        if self.option.key == "database.url":
            return settings.without_password(self.value)
        return str(self.value).lower() if self.option.type is bool else str(self.value)


def listing(home: Home) -> list[Setting]:
    """Return every option, in the order of the documentation."""
    chosen, in_file = settings.load(home), settings.from_file(home.config)
    return [Setting(option, getattr(chosen, option.name), _origin(option, in_file)) for option in OPTIONS]


def show(home: Home, key: str) -> Setting:
    """Return one option; InvalidRequest for a key that is none."""
    option = _existing(key)
    return next(setting for setting in listing(home) if setting.option is option)


def change(home: Home, key: str, text: str) -> Setting:
    """Set an option in ``config.toml``, checked as at a start, and return it; comments stay where they are."""
    option = _existing(key)
    try:
        value = option.parse(text)
        _check_form(home, option, value)
        _write(home, option, value)
    except InvalidSetting as error:
        raise InvalidRequest(str(error), param=key) from None
    except ValueError as error:
        raise InvalidRequest(f"{key} {error}", param=key) from None
    return show(home, key)


def _check_form(home: Home, option: Option, value: Any) -> None:
    """Refuse a value that no gateway could use, on its own or with the other settings."""
    if wrong := forms.faults(settings.load(home, {option.key: value})).get(option.key):
        raise ValueError(wrong)


def reset(home: Home, key: str) -> Setting:
    """Take an option out of ``config.toml``, so that its default holds again."""
    option = _existing(key)
    if option.name in settings.from_file(home.config):
        _write(home, option, None)
    return show(home, key)


def without_database(home: Home) -> str:
    """Return the text of ``config.toml`` without the database's address: what goes into a backup, which has its own."""
    option = BY_KEY["database.url"]
    text = home.config.read_text(encoding="utf-8-sig") if home.config.exists() else ""
    return _edited(text, option, None)


def _existing(key: str) -> Option:
    if key not in BY_KEY:
        from tokenhub.operations import secrets

        raise InvalidRequest(settings.unknown(key, (*BY_KEY, *secrets.NAMES)), param="key")
    return BY_KEY[key]


def _origin(option: Option, in_file: Mapping[str, Any]) -> str:
    if option.environment in os.environ:
        return "environment"
    return "file" if option.name in in_file else "default"


def _write(home: Home, option: Option, value: Any) -> None:
    settings.from_file(home.config)  # a broken file is refused here, with its line, and left as it is
    make_folder(home.path)
    with home.alone("config"):
        text = home.config.read_text(encoding="utf-8-sig") if home.config.exists() else ""
        edited = _edited(text, option, value)
        settings.from_text(edited)
        write_private(home.config, edited.encode())


def _edited(text: str, option: Option, value: Any) -> str:
    """Return the text with one option set, or taken out (None): in its own line, else under its section.

    Where a file is written in a way that a line cannot be changed alone (inline tables, values
    of several lines), it is written anew, without its comments.
    """
    wanted = settings.from_text(text)
    there = option.name in wanted
    if value is None and not there:
        return text
    wanted = {name: kept for name, kept in (wanted | {option.name: value}).items() if kept is not None}
    section, _, name = option.key.partition(".")
    entry = "" if value is None else tomli_w.dumps({name: value})
    lines = text.splitlines(keepends=True)
    header = next((place for place, line in enumerate(lines) if re.match(rf"\s*\[\s*{section}\s*\]", line)), None)
    if there:
        lines[settings.line_of(text, option.key) - 1] = entry
    elif header is not None:
        lines.insert(header + 1, entry)
    else:
        lines += ["" if not lines or lines[-1].endswith("\n") else "\n", f"\n[{section}]\n", entry]
    edited = "".join(lines)
    return edited if _reads_as(edited, wanted) else _whole(wanted)


def _reads_as(text: str, wanted: Mapping[str, Any]) -> bool:
    try:
        return settings.from_text(text) == wanted
    except InvalidSetting:
        return False


def _whole(values: Mapping[str, Any]) -> str:
    document: dict[str, dict[str, Any]] = {}
    for option in OPTIONS:
        if option.name in values:
            section, _, name = option.key.partition(".")
            document.setdefault(section, {})[name] = values[option.name]
    return tomli_w.dumps(document)
