"""Is any person of the original still in the result? A recogniser that draws nothing says so.

Its embeddings of the originals also choose whose face a start has (`camouflage.pipelines.starts`),
so its verdict is no stranger's: what others see is measured by `camouflage evaluate`.
"""

from camouflage.audit.recogniser import Embeddings, Recogniser
from camouflage.audit.verdict import FaceVerdict, Verdict, audit

__all__ = ["Embeddings", "FaceVerdict", "Recogniser", "Verdict", "audit"]
