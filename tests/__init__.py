"""Tests; the folders mirror the five packages."""
