import pytest

from orchestrator.config.sections import WebhookSettings
from orchestrator.config.webhooks import may_call_back

SETTINGS = WebhookSettings(callback_urls=("https://n8n.lan/webhook", "http://127.0.0.1:5678/"))


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://n8n.lan/webhook", True),
        ("https://n8n.lan/webhook/7?x=y", True),
        ("http://127.0.0.1:5678", True),
        ("http://127.0.0.1:5678/any/thing", True),
        ("https://n8n.lan/webhooks", False),
        ("https://n8n.lan/webhook/../admin", False),
        ("https://n8n.lan/webhook/%2e%2E/admin", False),
        ("https://n8n.lan/webhook/.%2e%2fadmin", False),
        ("https://n8n.lan:444/webhook", False),
        ("http://n8n.lan/webhook", False),
        ("https://n8n.lan.evil.example/webhook", False),
        ("https://n8n.lan@evil.example/webhook", False),
        ("https://user@n8n.lan/webhook", False),
        ("http://127.0.0.1:5679/", False),
        ("http://127.0.0.1:x/", False),
        ("http://[", False),
        ("file:///etc/passwd", False),
    ],
)
def test_what_may_be_called(url, may):
    assert may_call_back(SETTINGS, url) is may


def test_nothing_may_be_called_unless_it_is_listed():
    assert not may_call_back(WebhookSettings(), "https://n8n.lan/")
