"""For all tests: no deadline for a single example, which a busy machine would miss."""

from hypothesis import settings

settings.register_profile("camouflage", deadline=None)
settings.load_profile("camouflage")
