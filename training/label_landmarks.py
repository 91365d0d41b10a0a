"""Dense landmarks for the crops of `training.prepare`, by MediaPipe's face mesh.

    python training/label_landmarks.py runs/crops

Writes ``landmarks.npz`` into the folder: for each crop's key (478, 3) float32, x and y in pixels of
the stored crop and z in the same unit (nearer is smaller). Crops in which the mesh finds no face
are left out. Needs only ``mediapipe==0.10.21`` (Apache-2.0), best in an environment of its own,
because its pins are old; this file imports nothing else of the project.
"""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import cv2
import mediapipe as mp
import numpy as np

ZOOM = 3  # the mesh's own face detector wants a face of some size


def main(folder: Path) -> None:
    mesh = mp.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.2
    )
    labels, seen = {}, 0
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                data = tar.extractfile(member).read()
                picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
                points = landmarks(mesh, picture)
                seen += 1
                if points is not None:
                    labels[member.name.removesuffix(".png")] = points
    np.savez_compressed(folder / "landmarks.npz", **labels)
    print(f"{len(labels)} of {seen} crops labelled")


def landmarks(mesh, picture: np.ndarray) -> np.ndarray | None:
    """(478, 3) float32 in pixels of ``picture`` (H, W, 3) uint8, or None."""
    height, width = picture.shape[:2]
    large = cv2.resize(picture, (ZOOM * width, ZOOM * height), interpolation=cv2.INTER_CUBIC)
    found = mesh.process(np.ascontiguousarray(large)).multi_face_landmarks
    if not found:
        return None
    points = np.array([[p.x * width, p.y * height, p.z * width] for p in found[0].landmark])
    return (points - [0.5, 0.5, 0]).astype(np.float32)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
