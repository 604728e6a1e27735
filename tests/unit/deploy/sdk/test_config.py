"""Where to call and as whom: what wins, and what is refused."""

from pathlib import Path

import pytest
from waypost.config import (
    Settings,
    config_of,
    settings_changed,
    settings_read,
    settings_write,
)
from waypost.errors import NotConfigured

NOTHING = Settings()


def environ(folder: Path, **values: str) -> dict[str, str]:
    return {"WAYPOST_CONFIG": str(folder / "config.json"), **values}


def test_what_is_given_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    settings_write(path, Settings("file", "http://file", "http://file-pages"))
    given = Settings(base_url="http://given/")
    found = config_of(given, environ=environ(tmp_path, WAYPOST_API_KEY="env"))
    assert (found.base_url, found.api_key) == ("http://given", "env")
    assert found.management_url == "http://file-pages"


def test_the_management_address_is_never_another_machine_than_the_base_address(
    tmp_path: Path,
) -> None:
    found = config_of(NOTHING, environ=environ(tmp_path))
    assert (found.base_url, found.management_url) == (
        "http://127.0.0.1:8080",
        "http://127.0.0.1:8000",
    )
    found = config_of(Settings(base_url="https://ai.example/v1"), environ=environ(tmp_path))
    assert (found.base_url, found.management_url) == ("https://ai.example", "https://ai.example")


@pytest.mark.parametrize("url", ["ai.example", "ftp://ai.example", "https://", "http://h?x=1"])
def test_an_invalid_address_is_refused_with_its_name(tmp_path: Path, url: str) -> None:
    with pytest.raises(NotConfigured, match="WAYPOST_BASE_URL"):
        config_of(Settings(base_url=url), environ=environ(tmp_path))


def test_a_key_that_would_break_a_header_is_refused_and_not_told(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured) as refused:
        config_of(Settings("a\r\nx-evil: 1"), environ=environ(tmp_path))
    assert "evil" not in str(refused.value)
    with pytest.raises(NotConfigured):
        config_of(Settings("key", session="a;b=c"), environ=environ(tmp_path))


def test_the_file_is_its_owners_alone_and_one_that_is_not_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "config.json"
    settings_write(path, Settings("secret"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]
    path.chmod(0o640)
    with pytest.raises(NotConfigured, match="chmod 600"):
        settings_read(path)


@pytest.mark.parametrize("text", ["{", "[]", '{"api_key": 1}', '{"key": "x"}'])
def test_a_file_that_is_no_settings_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(NotConfigured, match=r"config\.json"):
        settings_read(path)


def test_a_setting_is_changed_and_forgotten() -> None:
    changed = settings_changed(NOTHING, "base_url", "http://x")
    assert changed.base_url == "http://x"
    assert settings_changed(changed, "base_url", None) == NOTHING
    with pytest.raises(NotConfigured, match="'colour' is no setting"):
        settings_changed(NOTHING, "colour", "red")


def test_secrets_are_in_no_text_of_a_config(tmp_path: Path) -> None:
    found = config_of(Settings("secret-1", session="secret-2"), environ=environ(tmp_path))
    assert "secret" not in repr(found)


def test_a_session_is_for_the_management_api_alone(tmp_path: Path) -> None:
    found = config_of(Settings("key", session="abc"), environ=environ(tmp_path))
    assert found.headers(is_router=True) == {"authorization": "Bearer key"}
    pages = found.headers(is_router=False)
    assert "authorization" not in pages
    assert pages["cookie"].startswith("sessionid=abc; csrftoken=")
    with pytest.raises(NotConfigured, match="waypost login"):
        config_of(NOTHING, environ=environ(tmp_path)).headers(is_router=True)
