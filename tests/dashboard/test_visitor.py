"""Nothing is drawn for nobody: the proxy's header, the login, and what each is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.visitor import providers
from tests.dashboard.incident_rows import text
from tests.lake_fixture import Story, make_lake

APP = Path(__file__).parents[2] / "dashboard" / "app.py"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return make_lake(tmp_path_factory.mktemp("lake"), nodes=1, minutes=3)


def _open(story: Story, monkeypatch: pytest.MonkeyPatch, folder: Path, more: str = "") -> AppTest:
    config = folder / "foreshock.toml"
    config.write_text(f'[lake]\npath = "{story.path}"\n{more}')
    monkeypatch.setenv("FORESHOCK_CONFIG", str(config))
    monkeypatch.delenv("FORESHOCK_LAKE", raising=False)
    return AppTest.from_file(str(APP), default_timeout=60)


def _before_the_login(story: Story, monkeypatch: pytest.MonkeyPatch, folder: Path) -> AppTest:
    app = _open(story, monkeypatch, folder)
    app.secrets["auth"] = {"client_id": "foreshock"}
    app.user = {"is_logged_in": False}
    return app.run()


def test_whoever_came_past_the_proxy_sees_nothing(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story, monkeypatch, tmp_path, '[dashboard]\nuser_header = "X-Forwarded-User"\n').run()
    assert "The proxy did not say who you are" in app.error[0].value
    assert not app.metric
    assert "node" not in text(app)


def test_before_the_login_nothing_is_seen_and_after_it_the_name_is(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _before_the_login(story, monkeypatch, tmp_path)
    assert [button.label for button in app.button] == ["Log in"]
    assert not app.metric
    app.user = {"is_logged_in": True, "email": "ann@example.org"}
    app.run()
    assert app.metric
    assert "Logged in as `ann@example.org`" in text(app)
    app.user = {"is_logged_in": True}
    app.run()
    assert "no name" in app.error[0].value
    assert not app.metric


def test_a_login_that_is_configured_in_part_is_a_sentence(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _before_the_login(story, monkeypatch, tmp_path)
    app.button[0].click().run()
    assert not app.exception
    assert "the login cannot be used" in app.error[0].value


def test_without_header_and_login_everybody_reads(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = _open(story, monkeypatch, tmp_path).run()
    assert app.metric
    assert "Logged in" not in text(app)


@pytest.mark.parametrize(
    ("auth", "named"),
    [
        ({"client_id": "a", "client_kwargs": {"scope": "openid"}}, [None]),
        ({"google": {"client_id": "a"}, "okta": {"client_id": "b"}}, ["google", "okta"]),
        ({"client_id": "a", "okta": {"client_id": "b"}}, [None, "okta"]),
        ({}, [None]),
    ],
)
def test_each_provider_has_a_button(auth: dict[str, Any], named: list[str | None]) -> None:
    assert providers(auth) == named
