"""Small real media files: FFmpeg's libraries (PyAV) encode the pictures, Python's `wave` writes the sound."""

import wave
from pathlib import Path

import av

CODECS = {".mp4": "mpeg4", ".mkv": "mpeg4", ".ts": "mpeg2video"}
WIDTH, HEIGHT, FRAMES = 64, 48, 10


def write(path: Path) -> Path:
    """Write ten pictures, or a tenth of a second of silence, in the container that the extension names."""
    if path.suffix == ".wav":
        _silence(path)
    else:
        _pictures(path)
    return path


def _silence(path: Path) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))


def _pictures(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[path.suffix], rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAMES):
            picture = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([number * 20]) * plane.buffer_size)
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
