"""Which engines can be compared, and the command of one repeat of each.

An engine is named ENGINE/PRECISION, for instance llama.cpp/Q4_0, openvino/int4, openvino/int4+f32,
ort/int4; onesec/NAME stands for a command given on the command line.
"""

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEFAULT = (
    "llama.cpp/Q4_0",
    "llama.cpp/Q8_0",
    "openvino/int4",
    "openvino/int4+f32",
    "openvino/fp16",
)
# A width each: the command tells the keys of workload.py where it measures one.
ONESEC = {
    width: f"onesec bench --shape {{shape}} --widths {width} --threads {{threads}} --json"
    for width in ("4", "8")
}
# Settings after "+" in a precision.
OPENVINO_SETTINGS = {
    "f32": ["INFERENCE_PRECISION_HINT=f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE=32"],
    "bf16": ["INFERENCE_PRECISION_HINT=bf16"],
}


@dataclass(frozen=True)
class Places:
    """Where the peers and their models are: the folder that setup.sh filled."""

    work: Path
    threads: int
    metrics: str
    onesec: dict[str, str]

    def python(self, engine: str) -> str:
        """The interpreter of an engine's virtual environment."""
        return str(self.work / f"venv-{engine}" / "bin" / "python")

    def programs(self) -> Path:
        """The folder of llama.cpp's programs."""
        return self.work / "build-llama" / "bin"


def command(name: str, shape: str, places: Places) -> list[str]:
    """The command of one repeat; it prints JSON lines as run_*.py do."""
    engine, _, precision = name.partition("/")
    if engine == "onesec":
        text = places.onesec[precision].format(shape=shape, threads=places.threads)
        return shlex.split(text)
    base, _, setting = precision.partition("+")
    shared = ["--threads", str(places.threads), "--metrics", places.metrics]
    if engine == "llama.cpp":
        model = places.work / "gguf" / f"{shape}-{base}.gguf"
        script = ["python3", str(HERE / "run_llamacpp.py"), "--bin", str(places.programs())]
        return [*script, *shared, str(model)]
    if engine == "openvino":
        model = places.work / "ov" / f"{shape}-{base}"
        script = [places.python("ov"), str(HERE / "run_openvino.py")]
        return [*script, *shared, str(model), *(OPENVINO_SETTINGS[setting] if setting else [])]
    if engine == "ort":
        model = places.work / "ort" / f"{shape}-{base}"
        return [places.python("ort"), str(HERE / "run_ort.py"), *shared, str(model)]
    raise SystemExit(f"no such engine: {name}")


def versions(names: list[str], places: Places) -> dict[str, str]:
    """Versions of the Python peers among `names`."""
    packages = {"openvino": ("ov", "openvino-genai"), "ort": ("ort", "onnxruntime-genai")}
    out = {}
    for engine in {name.partition("/")[0] for name in names} & set(packages):
        venv, package = packages[engine]
        code = f"import importlib.metadata as m; print(m.version('{package}'))"
        asked = subprocess.run([places.python(venv), "-c", code], capture_output=True, text=True)
        out[engine] = f"{package} {asked.stdout.strip()}"
    source = places.work / "llama.cpp.version"
    if source.exists():
        out["llama.cpp"] = source.read_text().strip()
    return out
