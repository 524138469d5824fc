"""Configs and command lines of older projects, translated into keys of ours."""
