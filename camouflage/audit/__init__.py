"""Is any person of the original still in the result? A recogniser that generation never used."""

from camouflage.audit.recogniser import Embeddings, Recogniser
from camouflage.audit.verdict import FaceVerdict, Verdict, audit

__all__ = ["Embeddings", "FaceVerdict", "Recogniser", "Verdict", "audit"]
