"""What the named detectors of detect-secrets find, the rules find: a table by other hands.

The detectors are no part of the product: some take more than linear time, and some need a line of
source code around a secret.
"""

import re
import string
from collections import Counter

import pytest
from detect_secrets.plugins import (
    aws,
    azure_storage_key,
    basic_auth,
    discord,
    github_token,
    gitlab_token,
    mailchimp,
    openai,
    private_key,
    pypi_token,
    sendgrid,
    slack,
    square_oauth,
    stripe,
    telegram_token,
    twilio,
)
from hypothesis import given
from hypothesis import strategies as st

from loop.privacy import redact_text

DETECTORS = (
    aws.AWSKeyDetector,
    azure_storage_key.AzureStorageKeyDetector,
    basic_auth.BasicAuthDetector,
    discord.DiscordBotTokenDetector,
    github_token.GitHubTokenDetector,
    gitlab_token.GitLabTokenDetector,
    mailchimp.MailchimpDetector,
    openai.OpenAIDetector,
    private_key.PrivateKeyDetector,
    pypi_token.PypiTokenDetector,
    sendgrid.SendGridDetector,
    slack.SlackDetector,
    square_oauth.SquareOAuthDetector,
    stripe.StripeDetector,
    telegram_token.TelegramBotTokenDetector,
    twilio.TwilioKeyDetector,
)
"""Left out: what names no kind of secret (keywords, entropy, any address), what says yes to
"eyJ0.0" or "APACHE2PORT", and IBM's own services.
"""
PATTERNS = [pattern for detector in DETECTORS for pattern in detector.denylist]
TYPED = string.printable.replace('"', "")
PRINTABLE = st.characters(codec="ascii", include_characters=TYPED, categories=())
"""Without the mark that ends a text in JSON."""


def said(pattern):
    """Texts that a detector's pattern finds, as one types them."""
    return st.from_regex(pattern, fullmatch=True, alphabet=PRINTABLE)


def redacted(text):
    return redact_text(text, Counter())


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.pattern[:40])
def test_a_secret_that_a_detector_names_does_not_stay(pattern):
    @given(said(pattern))
    def stays_not(secret):
        assert not pattern.search(redacted(f"the log says {secret} and stops")), secret

    stays_not()


def test_the_detectors_find_what_nobody_redacts():
    assert re.search(PATTERNS[0], "key AKIA0123456789ABCDEF")
    assert all(detector.denylist for detector in DETECTORS)
