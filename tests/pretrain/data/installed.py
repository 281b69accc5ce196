"""Marks of tests that read data which are not installed everywhere."""

from __future__ import annotations

import importlib.util

import pytest

from pretrain.data.speech import PROMPTS

needs_aeon = pytest.mark.skipif(
    importlib.util.find_spec("aeon") is None, reason="aeon is not installed: pip install --no-deps aeon"
)
needs_gensim = pytest.mark.skipif(
    importlib.util.find_spec("gensim") is None,
    reason="gensim is not installed: pip install 'headway[pretrain]'",
)
needs_prompts = pytest.mark.skipif(
    not PROMPTS.is_dir(), reason="no speech here: apt-get install asterisk-core-sounds-en-wav"
)
